/** A program for tests: lists in a mount namespace of its own, with a small /dev/shm that is full, or becomes it. Prints JSON. */
import { execFileSync } from 'node:child_process';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { runCommand } from '../../src/host/command.ts';

const SHM = '/dev/shm';
const FILL = `${SHM}/filling`;
execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'none', SHM]);

/** Names its output, then flushes each line, and ends well whatever becomes of it, as nft does. */
async function list(name: string, lines: number, before = ''): Promise<string> {
  const loop = `i=0; while [ $i -lt ${lines} ]; do echo "line $i of ${name}"; i=$((i+1)); done`;
  const argv = ['sh', '-c', `readlink /proc/self/fd/1; ${before} ${loop}; exit 0`] as const;
  const { stdout } = await runCommand({ argv, timeoutMs: 60_000, isListing: true });
  const [output = '', ...found] = stdout.split('\n');
  const isWhole =
    found.length === lines + 1 && found.every((line, i) => line === (i < lines ? `line ${i} of ${name}` : ''));
  return `${output.startsWith(SHM) ? 'file' : 'pipe'}, ${isWhole ? 'whole' : `${found.length} lines`}`;
}

const LONG = 'of-which-each-is-rather-long'.repeat(20);
const FILLS = `dd if=/dev/zero of=${FILL} bs=4k 2>/dev/null;`;
/** What a listing's file took is there again after it. */
const FILLS_MORE = `dd if=/dev/zero of=${FILL} bs=4k oflag=append conv=notrunc 2>/dev/null; exit 0`;
const results: Record<string, string> = {};
results['room'] = await list('short', 3_000);
results['left'] = readdirSync(SHM).join(' ');
results['full meanwhile'] = await list('short', 3_000, FILLS);
execFileSync('sh', ['-c', FILLS_MORE]);
results['full before'] = await list('other', 3_000);
rmSync(FILL);
results['longer than the room'] = await list(LONG, 6_000);
results['longer, again'] = await list(LONG, 6_000);
writeFileSync(FILL, Buffer.alloc(4 * 1024 * 1024));
results['longer, without the room'] = await list(LONG, 6_000);
const failed = runCommand({
  argv: ['sh', '-c', 'echo much; echo why >&2; exit 3'],
  timeoutMs: 60_000,
  isListing: true,
});
results['failed'] = await failed.then(
  () => 'done',
  (error: unknown) => (error as Error).message,
);
results['left at last'] = readdirSync(SHM).join(' ');
console.log(JSON.stringify(results));
