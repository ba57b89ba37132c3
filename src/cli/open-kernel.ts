/** Opens the kernel: which iptables variant, which families, and waiting for tools that are not there yet. */
import { FAMILIES } from '../core/vocabulary.ts';
import type { HostKernel } from '../dataplane/iptables/kernel/host-kernel.ts';
import type { AgentMetrics } from '../telemetry/metrics.ts';
import type { Logger } from '../telemetry/log.ts';
import type { SyncOptions } from '../dataplane/iptables/sync/one-sync.ts';
import type { AgentConfig } from './config.ts';

import { createHostKernel } from '../dataplane/iptables/kernel/host-kernel.ts';
import { KernelUnreadable } from '../dataplane/iptables/kernel/kernel.ts';
import { toolName } from '../dataplane/iptables/kernel/linux-kernel.ts';
import { hostHasIpv6, readTableNames } from '../dataplane/iptables/kernel/list-rules.ts';
import { FeatureWatch } from '../dataplane/iptables/kernel/probe-features.ts';
import { CommandFailed, type RunCommand, runCommand } from '../host/command.ts';
import { sleep } from '../core/clock.ts';

/** A node without iptables yet (an init container installs it, say) is asked again, not crash-looped. */
const KERNEL_RETRY_MS = 2_000;

export interface AgentKernel {
  readonly kernel: HostKernel;
  /** See SyncOptions. */
  readonly missingFeatures: NonNullable<SyncOptions['missingFeatures']>;
}

interface AgentKernelOptions {
  readonly config: Pick<AgentConfig, 'backend' | 'xtablesLockWaitSeconds'>;
  /** Runs the tools that write. */
  readonly run: RunCommand;
  readonly metrics: AgentMetrics;
  readonly log: Logger;
}

/** To be opened before it is asked. */
export function createKernel({ config, run, metrics, log }: AgentKernelOptions): AgentKernel {
  const kernel = createHostKernel({
    choice: config.backend,
    run,
    read: runCommand,
    readTableNames,
    hasIpv6: hostHasIpv6,
    lockWaitSeconds: config.xtablesLockWaitSeconds,
    onBackend: ({ backend, why, doubt }, before) => {
      metrics.backend(backend);
      metrics.tools(['ipset', ...FAMILIES.map((family) => toolName(backend, family, 'restore'))]);
      const unsure = doubt === undefined ? '' : `; not sure: ${doubt}`;
      if (before === undefined) log.info(`writing to ${backend}: ${why}${unsure}`);
      else log.warn(`this host moved from ${before} to ${backend} (${why}); the rules are moved as well${unsure}`);
    },
    onCommand: ({ tool, write, durationMs, waitedForLock }) => {
      if (write) metrics.kernelWrite(tool);
      if (waitedForLock) metrics.xtablesLockWait(durationMs / 1000);
      log.debug('command', { tool, write, durationMs: Math.round(durationMs) });
    },
  });
  const features = new FeatureWatch({
    run: runCommand,
    lockWaitSeconds: config.xtablesLockWaitSeconds,
    onUnknown: ({ message }) => log.warn(`cannot find out what this kernel can do, asking again: ${message}`),
  });
  return {
    kernel,
    missingFeatures: (question) =>
      features.missing(
        { families: kernel.families, restoreOf: (family) => toolName(kernel.backend, family, 'restore') },
        question,
      ),
  };
}

interface OpenKernelOptions {
  readonly kernel: HostKernel;
  readonly log: Logger;
  /** Told why the kernel cannot be opened yet. */
  readonly onProblem: (problem: string) => void;
  readonly signal: AbortSignal;
}

/** Opens the kernel, waiting for the tools to appear; undefined if told to stop meanwhile. */
export async function openKernel({
  kernel,
  log,
  onProblem,
  signal,
}: OpenKernelOptions): Promise<Awaited<ReturnType<HostKernel['open']>> | undefined> {
  let told = '';
  while (!signal.aborted) {
    try {
      return await kernel.open();
    } catch (error) {
      if (!(error instanceof CommandFailed || error instanceof KernelUnreadable)) throw error;
      const problem = `the netfilter tools do not work: ${error.message}`;
      if (problem !== told)
        log.error(`${problem}; no rule is changed until they do, trying again every ${KERNEL_RETRY_MS / 1000} s`);
      told = problem;
      onProblem(problem);
      await sleep(KERNEL_RETRY_MS, signal);
    }
  }
  return undefined;
}
