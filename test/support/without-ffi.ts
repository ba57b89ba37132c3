import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A file that hides the library by which netlink sockets are opened. */
export function withoutFfi(directory: string): string {
  const file = join(directory, 'without-ffi.cjs');
  const script = [
    "const { Module } = require('node:module');",
    'const resolve = Module._resolveFilename;',
    'Module._resolveFilename = (request, ...more) => {',
    "  if (request.includes('koffi')) throw new Error('it is hidden');",
    '  return resolve.call(Module, request, ...more);',
    '};',
  ];
  writeFileSync(file, `${script.join('\n')}\n`);
  return file;
}
