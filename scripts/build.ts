/** Bundles the program into dist/portcullis.mjs, the one file the image needs besides Node.js and the netfilter tools. */
import { copyFileSync, globSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { build } from 'esbuild';

const ROOT = join(import.meta.dirname, '..');
const OUT_DIR = join(ROOT, 'dist');
const OUT_FILE = join(OUT_DIR, 'portcullis.mjs');

/** Some dependencies are CommonJS and call `require` for Node's own modules, which an ES module does not have. */
const BANNER = `import { createRequire as portcullisCreateRequire } from 'node:module';
const require = portcullisCreateRequire(import.meta.url);`;

rmSync(OUT_DIR, { recursive: true, force: true });
mkdirSync(OUT_DIR);
await build({
  entryPoints: [join(ROOT, 'src/main.ts')],
  outfile: OUT_FILE,
  bundle: true,
  platform: 'node',
  target: 'node22.19',
  format: 'esm',
  banner: { js: `#!/usr/bin/env node\n${BANNER}` },
  // Names in stack traces and metrics stay readable.
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: 'none',
  logLevel: 'warning',
});
// The lab's helpers in Perl are found beside the file that starts them.
for (const script of globSync('src/lab/**/*.pl', { cwd: ROOT })) {
  copyFileSync(join(ROOT, script), join(OUT_DIR, basename(script)));
}
console.log(`dist/${basename(OUT_FILE)}: ${Math.round(statSync(OUT_FILE).size / 1024)} KiB`);
