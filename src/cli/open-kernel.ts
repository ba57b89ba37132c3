/** Opens the kernel: which iptables variant, which families, and waiting for tools that are not there yet. */
import type { Backend, Kernel } from '../kernel/kernel.ts';
import type { AgentMetrics } from '../status/metrics.ts';
import type { Logger } from '../status/log.ts';
import type { AgentConfig } from './config.ts';

import { detectBackend, detectFamilies } from '../kernel/backend.ts';
import { createLinuxKernel } from '../kernel/linux-kernel.ts';
import { CommandFailed, type RunCommand, runCommand } from '../kernel/command.ts';
import { sleep } from './timers.ts';

/** A node without iptables yet (an init container installs it, say) is asked again, not crash-looped. */
const KERNEL_RETRY_MS = 2_000;

/** Opens the kernel, waiting for the tools to appear (`onProblem` is told why); undefined if told to stop meanwhile. */
export async function openKernel(
  config: AgentConfig,
  run: RunCommand,
  metrics: AgentMetrics,
  log: Logger,
  onProblem: (problem: string) => void,
  signal: AbortSignal,
): Promise<Kernel | undefined> {
  const kernelLog = log.child('kernel');
  let told = '';
  while (!signal.aborted) {
    try {
      return await tryKernel(config, run, metrics, kernelLog);
    } catch (error) {
      if (!(error instanceof CommandFailed)) throw error;
      const problem = `the netfilter tools do not work: ${error.message}`;
      if (problem !== told)
        kernelLog.error(`${problem}; no rule is changed until they do, trying again every ${KERNEL_RETRY_MS / 1000} s`);
      told = problem;
      onProblem(problem);
      await sleep(KERNEL_RETRY_MS, signal);
    }
  }
  return undefined;
}

async function tryKernel(config: AgentConfig, run: RunCommand, metrics: AgentMetrics, log: Logger): Promise<Kernel> {
  const detected: { backend: Backend; why: string } =
    config.backend === 'auto' ? await detectBackend(runCommand) : { backend: config.backend, why: 'set by --backend' };
  const families = await detectFamilies(runCommand, detected.backend);
  await runCommand({ argv: ['ipset', '--version'], timeoutMs: 10_000 });
  metrics.backend(detected.backend);
  log.info(`writing to ${detected.backend}: ${detected.why}`, { families });
  if (!families.includes(6)) log.warn('IPv6 is not filtered: ip6tables cannot list table mangle on this host');
  return createLinuxKernel({
    backend: detected.backend,
    families,
    run,
    lockWaitSeconds: config.xtablesLockWaitSeconds,
    onCommand: ({ tool, write, durationMs, waitedForLock }) => {
      if (write) metrics.kernelWrite(tool);
      if (waitedForLock) metrics.xtablesLockWait(durationMs / 1000);
      log.debug('command', { tool, write, durationMs: Math.round(durationMs) });
    },
  });
}
