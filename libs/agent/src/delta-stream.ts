const FLUSH_MS = 40;

/** Joins the pieces of a streaming reply into at most 25 messages per second; what is left at the end comes with the entry. */
export class DeltaStream {
  private text = '';
  private timer?: NodeJS.Timeout;

  constructor(private readonly send: (text: string) => void) {}

  push(piece: string): void {
    this.text += piece;
    this.timer ??= setTimeout(() => this.flush(), FLUSH_MS);
  }

  private flush(): void {
    this.timer = undefined;
    this.send(this.text);
    this.text = '';
  }

  close(): void {
    clearTimeout(this.timer);
  }
}
