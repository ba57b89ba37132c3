/**
 * Loaded into a run of the bundle (`--import`): when that ends, what V8 compiled of each part goes into a file beside it, after a digest
 * of both (src/load-parts.ts).
 */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import vm from 'node:vm';

const scripts = new Map<string, vm.Script>();

vm.Script = class extends vm.Script {
  constructor(code: string, options: vm.ScriptOptions) {
    super(code, options);
    if (options.filename?.endsWith('.cjs')) scripts.set(options.filename, this);
  }
};

process.on('exit', () => {
  for (const [file, script] of scripts) {
    const code = script.createCachedData();
    const digest = createHash('sha256').update(readFileSync(file)).update(code).digest();
    writeFileSync(`${file}.compiled`, Buffer.concat([digest, code]));
  }
});
