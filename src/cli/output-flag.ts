/** In which format a command prints: `-o`. */
import type { Flag } from './flags.ts';

import { oneOf } from './read-value.ts';

/** The first format is the default. `note`: of the last one. */
export function outputFlag<const T extends string>(formats: readonly [T, ...T[]], note = '') {
  return {
    name: 'output',
    short: 'o',
    placeholder: '<format>',
    defaultText: formats[0],
    help: formats.join(', ') + note,
    read: oneOf(formats),
  } as const satisfies Flag<T>;
}
