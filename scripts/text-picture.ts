/**
 * What a program prints on a terminal, as an SVG for a page:
 *
 *   FORCE_COLOR=1 scripts/demo | node scripts/text-picture.ts > docs/demo.svg
 *
 * Knows the colours that `src/cli/paint.ts` uses, and that a line may be taken back by a carriage return.
 */
import { buffer } from 'node:stream/consumers';
import { stripVTControlCharacters } from 'node:util';

const CELL = { width: 7.83, height: 17 } as const;
const MARGIN = 16;
const FONT = 13;
/** SGR parameter -> what it does to the text behind it. */
const STYLES: Readonly<Record<number, string>> = {
  1: 'font-weight:bold',
  2: 'opacity:.6',
  31: 'fill:#ff7b72',
  32: 'fill:#7ee787',
  33: 'fill:#e3b341',
  37: 'fill:#ffffff',
  41: 'fill:#ff7b72;font-weight:bold',
};
/** Ends what began: all of it, bold and dim, the foreground, the background. */
const ENDS: Readonly<Record<number, readonly number[]>> = {
  0: [1, 2, 31, 32, 33, 37, 41],
  22: [1, 2],
  39: [31, 32, 33, 37],
  49: [41],
};

interface Span {
  readonly text: string;
  readonly style: string;
}

/** Escape character, `[`, parameters, `m`. */
const SGR = new RegExp(`${String.fromCharCode(27)}\\[([\\d;]*)m`, 'u');

function spansOf(line: string): Span[] {
  const open = new Set<number>();
  const parts = line.split(SGR);
  return parts.flatMap((part, index): Span[] => {
    if (index % 2 === 0)
      return part === ''
        ? []
        : [{ text: stripVTControlCharacters(part), style: [...open].map((code) => STYLES[code]).join(';') }];
    for (const code of part.split(';').map(Number)) {
      for (const each of ENDS[code] ?? []) open.delete(each);
      if (STYLES[code] !== undefined) open.add(code);
    }
    return [];
  });
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function pictureOf(text: string): string {
  const lines = text
    .trimEnd()
    .split('\n')
    .map((line) => spansOf(line.slice(line.lastIndexOf('\r') + 1)));
  const columns = Math.max(...lines.map((spans) => spans.reduce((sum, span) => sum + span.text.length, 0)));
  const [width, height] = [columns * CELL.width + 2 * MARGIN, lines.length * CELL.height + 2 * MARGIN];
  const rows = lines.map((spans, row) => {
    let column = 0;
    const texts = spans.map(({ text: part, style }) => {
      const x = MARGIN + column * CELL.width;
      column += part.length;
      const length = (part.length * CELL.width).toFixed(1);
      return `<tspan x="${x.toFixed(1)}" textLength="${length}"${style === '' ? '' : ` style="${style}"`}>${escaped(part)}</tspan>`;
    });
    return `<text y="${MARGIN + (row + 0.8) * CELL.height}" xml:space="preserve">${texts.join('')}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width.toFixed(0)} ${height.toFixed(0)}" font-family="ui-monospace,Menlo,Consolas,monospace" font-size="${FONT}" fill="#e6edf3" role="img" aria-label="What scripts/demo prints: five policies are applied one after the other, and a matrix compares who should reach whom with who does">
<rect width="100%" height="100%" rx="8" fill="#0d1117"/>
${rows.join('\n')}
</svg>
`;
}

const input = await buffer(process.stdin);
process.stdout.write(pictureOf(input.toString('utf8')));
