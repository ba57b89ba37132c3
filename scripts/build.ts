/** Bundles the program into dist/, or into the folder given as argument, and prints what it wrote. */
import { globSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { bundle } from './bundle.ts';

const folder = resolve(process.argv[2] ?? join(import.meta.dirname, '../dist'));
await bundle(folder);
for (const file of globSync('*', { cwd: folder }).sort()) {
  console.log(`${file}: ${Math.round(statSync(join(folder, file)).size / 1024)} KiB`);
}
