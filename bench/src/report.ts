import type { Part, Row } from './part.js';

export interface PartResult {
  part: Part;
  rows: Row[];
}

/** A table for people: what, Baton, floor, ratio, target. */
export function render(results: PartResult[]): string {
  const lines: string[] = [];
  for (const { part, rows } of results) {
    const cells = [['', 'Baton', 'floor', 'ratio', 'target'], ...rows.map(cellsOf)];
    const widths = cells[0]!.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
    lines.push('', part.title);
    for (const row of cells)
      lines.push(`  ${row.map((cell, column) => cell.padEnd(widths[column]!)).join('  ')}`.trimEnd());
  }
  return lines.join('\n');
}

function cellsOf(row: Row): string[] {
  const verdict = row.ok === undefined ? '' : row.ok ? ' ✓' : ' ✗';
  return [row.what, row.baton, row.floor ?? '', row.ratio?.toFixed(2) ?? '', `${row.target ?? ''}${verdict}`];
}
