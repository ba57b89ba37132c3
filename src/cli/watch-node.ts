/** The parts that look at the node beside the agent, each with its words in the log and its conditions. */
import type { Condition } from '../telemetry/condition.ts';
import type { Logger } from '../telemetry/log.ts';
import type { AgentMetrics } from '../telemetry/metrics.ts';
import type { AgentConfig } from './config.ts';

import { afterUnlessExit, systemClock as clock } from '../core/clock.ts';
import { FreeEpochs } from '../dataplane/free-epochs.ts';
import { CheckpointWatch } from '../host/checkpoint-watch.ts';
import { runCommand } from '../host/command.ts';
import { openFlowCounter } from '../host/flow-counter.ts';
import { createFlowMarks } from '../host/flow-marks.ts';
import { surveyHost } from '../host/host-survey.ts';
import { InterfaceWatch } from '../host/interface-watch.ts';
import { openReadingShell } from '../host/reading-shell.ts';
import { watchBridges } from '../telemetry/bridge-condition.ts';
import { createEpochLog } from '../telemetry/epoch-log.ts';
import { watchHost } from '../telemetry/host-conditions.ts';
import {
  checkpointRead,
  createCheckpointLog,
  createInterfaceLog,
  interfacesKnown,
} from '../telemetry/interface-conditions.ts';

export interface NodeWatches {
  readonly interfaces: InterfaceWatch;
  /** Undefined: the file is not read. */
  readonly checkpoint: CheckpointWatch | undefined;
  /** Undefined: the connection mark is not used. */
  readonly freeEpochs: FreeEpochs | undefined;
  readonly conditions: readonly Condition[];
  /** Begins to look at what else is on the host: that takes a dozen processes. */
  surveyHost(): void;
  stop(): void;
}

/** Without a first commit, what else is on the host is looked at this late. */
const LATEST_SURVEY_MS = 2_000;

export function watchNode(config: AgentConfig, metrics: AgentMetrics, log: Logger): NodeWatches {
  const kernelLog = log.child('kernel');
  const bridges = watchBridges(log, clock);
  const shell = openReadingShell();
  const isTime = Promise.withResolvers<void>();
  const cancelSurvey = clock.after(LATEST_SURVEY_MS, isTime.resolve);
  const survey = async () => {
    await isTime.promise;
    return surveyHost(shell.read);
  };
  const host = watchHost({ survey, metrics, log, isIpvsAllowed: config.allowKubeProxyIpvs, clock });
  const interfaces = new InterfaceWatch({
    run: runCommand,
    prefixes: config.podInterfacePrefixes,
    trunkPrefix: config.trunkInterfacePrefix,
    isClosed: config.newPods === 'closed',
    onLook: createInterfaceLog(kernelLog),
    clock,
  });
  const checkpoint = checkpointOf(config, kernelLog);
  const epochs = epochsOf(config, metrics, kernelLog);
  return {
    interfaces,
    checkpoint,
    freeEpochs: epochs?.freeEpochs,
    conditions: [
      ...bridges.conditions,
      ...(epochs ? [epochs.condition] : []),
      ...host.conditions,
      { name: 'pod-interfaces', state: () => interfacesKnown(interfaces.state()) },
      ...(checkpoint ? [{ name: 'vpc-cni-checkpoint', state: () => checkpointRead(checkpoint.state()) }] : []),
    ],
    surveyHost: isTime.resolve,
    stop: () => {
      cancelSurvey();
      for (const part of [bridges, host, shell, interfaces, checkpoint]) part?.stop();
    },
  };
}

function checkpointOf({ vpcCniCheckpoint: file }: AgentConfig, log: Logger): CheckpointWatch | undefined {
  return file === null ? undefined : new CheckpointWatch({ file, onRead: createCheckpointLog(log), clock });
}

function epochsOf(
  { connmarkMask: mask }: AgentConfig,
  metrics: AgentMetrics,
  log: Logger,
): { readonly freeEpochs: FreeEpochs; readonly condition: Condition } | undefined {
  if (mask === null) return undefined;
  const { condition, ...listener } = createEpochLog(mask, metrics, log);
  const flows = createFlowMarks(runCommand, openFlowCounter());
  // A search is no reason to stay.
  const timing = { now: () => clock.now(), after: afterUnlessExit };
  return { freeEpochs: new FreeEpochs({ marks: { mask }, flows, ...timing, ...listener }), condition };
}
