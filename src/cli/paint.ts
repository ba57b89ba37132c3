/** Colours as a function, so that what writes text needs to know no terminal. */
import { styleText } from 'node:util';

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'alarm';

export type Paint = (style: Style, text: string) => string;

const FORMATS = {
  bold: 'bold',
  dim: 'dim',
  red: 'red',
  green: 'green',
  yellow: 'yellow',
  alarm: ['bold', 'white', 'bgRed'],
} as const satisfies Record<Style, Parameters<typeof styleText>[0]>;

/** For pipes, files and tests. */
export const plain: Paint = (_style, text) => text;

/** On a terminal unless NO_COLOR is set, elsewhere with FORCE_COLOR, which decides first. */
export function paintFor(
  { isTTY = false }: { readonly isTTY?: boolean },
  { FORCE_COLOR: force, NO_COLOR: no = '', TERM }: Readonly<Record<string, string | undefined>>,
): Paint {
  const wanted = force === undefined ? isTTY && no === '' && TERM !== 'dumb' : !['0', 'false'].includes(force);
  return wanted ? (style, text) => styleText(FORMATS[style], text, { validateStream: false }) : plain;
}
