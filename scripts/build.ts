/** Bundles the program into dist/, or into the folder given as argument, keeps it compiled beside that, and prints what it wrote. */
import { globSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { bundle } from './bundle.ts';
import { warmUp } from './warm-up.ts';

const folder = resolve(process.argv[2] ?? join(import.meta.dirname, '../dist'));
await bundle(folder);
await warmUp(folder);
for (const file of globSync('*', { cwd: folder }).sort()) {
  console.log(`${file}: ${Math.round(statSync(join(folder, file)).size / 1024)} KiB`);
}
