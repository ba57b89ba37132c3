/** The commands beside `agent`, as the program knows them. What each does is loaded when it is asked for. */
import { release } from 'node:os';
import type { Command } from './command.ts';

import { CLEANUP_FLAGS, readCleanupFlags } from './cleanup-flags.ts';
import { AGENT_FLAGS, readAgentConfig } from './config.ts';
import { EXIT_OK } from './exit-codes.ts';
import { type Flag, requiredValue } from './flags.ts';
import { readText } from './read-value.ts';
import { DIFF_COMMAND } from './diff/diff-command.ts';
import { EXPLAIN_COMMAND } from './explain/explain-command.ts';
import { LINT_COMMAND } from './lint/lint-command.ts';
import { MATRIX_COMMAND } from './matrix/matrix-command.ts';
import { RECOMMEND_COMMAND } from './recommend/recommend-command.ts';
import { RENDER_COMMAND } from './render/render-command.ts';
import { UI_COMMAND } from './ui/ui-command.ts';
import { VERIFY_COMMAND } from './verify/verify-command.ts';
import { OUTPUT_FLAG, readStatusFlags, STATUS_FLAGS } from './status-flags.ts';

const STATUS: Command = {
  name: 'status',
  summary: 'whether policies are in force on every node, and who lags behind',
  description: `Asks the agents of all nodes, through the API server's pod proxy, what is in their kernels, and compares it with
what the API server has. Needs the rights to list nodes, networkpolicies and the agents' pods, and to get pods/proxy.

  portcullis status                                 12 of 12 nodes, slowest 140 ms after ...
  portcullis status --policy shop/allow-web         the same for one policy
  portcullis status -o json                         for programs; its field version counts up when others change`,
  flags: Object.values(STATUS_FLAGS),
  exitCodes: {
    ok: 'in force on every node',
    failure: 'not on all of them',
    usage: 'wrong usage, or it cannot be told: no API server, no rights, no agents, no such policy',
  },
  run: async (given, context) => {
    const flags = readStatusFlags(given, context.env);
    const { runStatus } = await import('./status.ts');
    return runStatus(flags, context);
  },
};

const VERSION: Command = {
  name: 'version',
  summary: 'the versions of program, Node.js and kernel',
  description: 'Of this program and what it runs on. What the agents of a cluster are: portcullis status -o json.',
  flags: [OUTPUT_FLAG],
  run: async (given, { version, env, out }) => {
    const found = { portcullis: version, node: process.version, kernel: release(), arch: process.arch };
    const isJson = requiredValue(OUTPUT_FLAG, given, env) === 'json';
    const text = `portcullis ${version}, Node.js ${found.node}, Linux ${found.kernel}, ${found.arch}`;
    out(`${isJson ? JSON.stringify(found, null, 2) : text}\n`);
    return EXIT_OK;
  },
};

const CLEANUP: Command = {
  name: 'cleanup',
  summary: 'take every trace of ours off this node',
  description: `Removes chains, jumps and sets of this and other versions from both iptables variants and both families, and the files that
the agent keeps; nothing of others. Needs root in the node's network namespace. May be repeated. For a node whose agent is
gone; where one runs, the annotation portcullis.dev/mode=off does the same.`,
  flags: CLEANUP_FLAGS,
  exitCodes: { ok: 'nothing of ours is left', failure: 'something is left, or an agent runs here' },
  run: async (given, context) => {
    const flags = readCleanupFlags(given, context.env);
    const { runCleanup } = await import('./cleanup.ts');
    return runCleanup(flags, context);
  },
};

const BUNDLE_FILE = {
  name: 'file',
  short: 'f',
  placeholder: '<file>',
  defaultText: '-',
  help: 'where to write it; -: standard output',
  read: readText,
} as const satisfies Flag<string>;

const BUNDLE: Command = {
  name: 'bundle',
  summary: 'one file of this node for whoever helps, without secrets',
  description: `Versions, the agent's settings, its pages and the end of its log, all rules and sets, policies, labels of namespaces and of
this node's pods, as JSON. No token, no annotation, no environment of a pod. Runs where the agent runs, with the same settings:

  kubectl -n kube-system exec POD -- node /opt/portcullis/portcullis.mjs bundle > node.json`,
  flags: [BUNDLE_FILE, ...Object.values(AGENT_FLAGS)],
  run: async (given, context) => {
    const config = readAgentConfig(given, context.env);
    const { runBundle } = await import('./bundle.ts');
    return runBundle({ file: requiredValue(BUNDLE_FILE, given, context.env), config }, context);
  },
};

/** In the order in which help lists them. */
export const COMMANDS: readonly Command[] = [
  STATUS,
  EXPLAIN_COMMAND,
  VERIFY_COMMAND,
  MATRIX_COMMAND,
  DIFF_COMMAND,
  LINT_COMMAND,
  RENDER_COMMAND,
  RECOMMEND_COMMAND,
  UI_COMMAND,
  BUNDLE,
  CLEANUP,
  VERSION,
];
