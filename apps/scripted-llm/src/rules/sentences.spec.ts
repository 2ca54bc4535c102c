import { sentencesOf } from './sentences.js';

describe('sentencesOf', () => {
  it('leaves out headings, code, rules and lines that introduce something', () => {
    const text =
      '# The title of a long document\n\nThese are the rules of it:\n\n---\n~~~\nconst a = 1; // not a sentence at all\n~~~\nA worker claims the lease at once.';
    expect(sentencesOf(text)).toEqual(['A worker claims the lease at once.']);
  });

  it('joins wrapped lines and parts list items', () => {
    const text =
      '1. **Postgres** is the truth;\n   Redis makes it fast.\n2. The journal is the run, nothing else.\n> A quoted line says the same thing.';
    expect(sentencesOf(text)).toEqual([
      'Postgres is the truth; Redis makes it fast.',
      'The journal is the run, nothing else.',
      'A quoted line says the same thing.',
    ]);
  });

  it('reads table cells that are sentences', () => {
    expect(
      sentencesOf('| P1 | An accepted task is never lost by anyone | `x \\| y` |\n|---|---|---|'),
    ).toEqual(['An accepted task is never lost by anyone']);
  });

  it('keeps link texts and code words, and drops tags and targets', () => {
    const text =
      'See [the <b>guide</b>](https://example.test) before you set `agent.results.<caller>` in production.';
    expect(sentencesOf(text)).toEqual(['See the guide before you set agent.results.<caller> in production.']);
  });

  it('does not end a sentence at an abbreviation', () => {
    expect(
      sentencesOf('Use a provider, e.g. Ollama, for local models. Then start the service again.'),
    ).toHaveLength(2);
  });
});
