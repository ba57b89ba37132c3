/**
 * Loaded into the process that is measured (`--import`): as watchStalls of stalls.ts, from its first turn on; when the process ends,
 * the result goes to the file that STALL_FILE names. Not in TypeScript, because taking types out would weigh on the process.
 */
import { writeFileSync } from 'node:fs';

const TURN_MS = 1;
let [at, cpu, ms, cpuMs] = [0, 0, 0, 0];

setTimeout(() => {
  [at, cpu] = [performance.now(), threadCpuMs()];
  turn();
}, TURN_MS).unref();

process.on('exit', () => writeFileSync(process.env.STALL_FILE, JSON.stringify({ ms, cpuMs })));

function turn() {
  const [now, used] = [performance.now(), threadCpuMs()];
  ms = Math.max(ms, now - at - TURN_MS);
  cpuMs = Math.max(cpuMs, used - cpu);
  [at, cpu] = [now, used];
  setTimeout(turn, TURN_MS).unref();
}

function threadCpuMs() {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
