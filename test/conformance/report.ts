/** What each door did in each row, for people. */
export class Report {
  private readonly verdicts = new Map<string, Map<string, string>>();

  constructor(private readonly columns: readonly string[]) {}

  note(row: string, column: string, verdict: string): void {
    const known = this.verdicts.get(row) ?? new Map<string, string>();
    this.verdicts.set(row, known.set(column, verdict));
  }

  /** Nothing where no row was run. */
  text(): string {
    if (this.verdicts.size === 0) return '';
    const rows = [
      ['', ...this.columns],
      ...[...this.verdicts].map(([row, cells]) => [
        row,
        ...this.columns.map((name) => cells.get(name) ?? '-'),
      ]),
    ];
    const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
    return rows
      .map((row) =>
        row
          .map((cell, i) => cell.padEnd(widths[i]!))
          .join('  ')
          .trimEnd(),
      )
      .join('\n');
  }
}
