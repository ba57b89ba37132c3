/** Arguments of `portcullis lab` -> options, with every default. Pure. */
import { parseArgs } from 'node:util';
import { type Backend, BACKENDS } from '../../src/core/vocabulary.ts';
import { START_MODES, type StartMode } from '../../src/cli/config.ts';
import type { Family } from '../../src/core/vocabulary.ts';
import type { MatrixPort } from '../matrix.ts';
import type { Wiring } from '../network/types.ts';

export interface LabCommandOptions {
  /** Files, folders, and `-` for standard input. */
  readonly files: readonly string[];
  /** Folders within folders, too. */
  readonly recursive: boolean;
  readonly nodes: number;
  readonly wiring: Wiring;
  readonly families: readonly Family[];
  readonly backend: Backend;
  readonly mode: StartMode;
  /** Ports to probe; empty: those the pods declare. */
  readonly ports: readonly MatrixPort[];
  readonly timeoutMs: number;
  readonly keep: boolean;
  readonly output: 'text' | 'json';
  /** Show what each policy changes, one after another. */
  readonly steps: boolean;
  /** Instead of manifests: a story that the lab tells by itself. */
  readonly demo?: 'live-download';
}

export type LabArguments =
  | { readonly kind: 'run'; readonly options: LabCommandOptions }
  | { readonly kind: 'help' }
  | { readonly kind: 'error'; readonly message: string };

const MAX_NODES = 20;

export const LAB_HELP = `Usage: portcullis lab -f <file, folder or -> [options]
       kubectl get ns,pods,netpol,svc -A -o yaml | portcullis lab -f -
       portcullis lab --demo live-download [options]

A cluster in a box: an API server in memory, network namespaces as nodes and pods, the real agent
on every node, real iptables and ipset, real packets. Needs Linux and root; nothing leaves this
machine. Prints who should reach whom (the reference evaluator) beside who does (packets), and marks
what differs. Everything is removed at the end, and what a killed lab left behind at the next start.

  -f, --file <path>        manifests to bring up: namespaces, pods, workloads, services, policies,
                           as people write them or as kubectl prints them; may be repeated; - is
                           standard input; a folder with a kustomization is built by kubectl;
                           kinds that the lab has no use for are skipped
  -R, --recursive          read folders within folders, too
      --demo <story>       live-download: a download between two pods goes on untouched by a policy
                           that does not concern it, and is cut by one that does; exit code 1 if not
      --nodes <n>          nodes, 1..${MAX_NODES}, called node-1 and so on (default 2)
      --wiring <kind>      routed: a route per pod, as AWS VPC CNI and kindnet; bridge: a bridge per
                           node (default routed)
      --families <list>    4, 6 or 4,6 (default 4,6)
      --backend <kind>     iptables-nft or iptables-legacy (default iptables-nft)
      --mode <mode>        mode of the agents: enforce, audit, dry-run (default enforce)
      --ports <list>       ports to probe, e.g. tcp:80,udp:53
                           (default: what containers declare, the six most frequent)
      --timeout <seconds>  how long packets may take to follow a change (default 5; with --demo 1)
      --keep               leave it up, print the KUBECONFIG line, follow changes until interrupted
      --no-steps           bring all policies in at once instead of one after the other
  -o, --output <format>    text or json; with --keep one line of json per change (default text)
  -h, --help               this text

Colours: on a terminal, unless NO_COLOR is set; elsewhere with FORCE_COLOR. See also: docs/lab.md.

Exit codes: 0 measured equals predicted; 1 it does not, or something failed; 2 wrong arguments.
With --keep, that of the last matrix shown.
`;

export function parseLabArguments(argv: readonly string[]): LabArguments {
  let values: ReturnType<typeof readArguments>;
  try {
    values = readArguments(argv);
  } catch (error) {
    return { kind: 'error', message: (error as Error).message.split('. To specify')[0]! };
  }
  if (values.help) return { kind: 'help' };
  try {
    return { kind: 'run', options: readOptions(values) };
  } catch (error) {
    if (error instanceof BadArgument) return { kind: 'error', message: error.message };
    throw error;
  }
}

class BadArgument extends Error {}

function readArguments(argv: readonly string[]) {
  return parseArgs({
    args: [...argv],
    strict: true,
    allowPositionals: false,
    allowNegative: true,
    options: {
      file: { type: 'string', short: 'f', multiple: true },
      recursive: { type: 'boolean', short: 'R', default: false },
      nodes: { type: 'string', default: '2' },
      wiring: { type: 'string', default: 'routed' },
      families: { type: 'string', default: '4,6' },
      backend: { type: 'string', default: 'iptables-nft' },
      mode: { type: 'string', default: 'enforce' },
      ports: { type: 'string', default: '' },
      timeout: { type: 'string' },
      demo: { type: 'string' },
      keep: { type: 'boolean', default: false },
      steps: { type: 'boolean', default: true },
      output: { type: 'string', short: 'o', default: 'text' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  }).values;
}

function readOptions(values: ReturnType<typeof readArguments>): LabCommandOptions {
  const files = (values.file ?? []).map(localPath);
  const demo = values.demo === undefined ? undefined : oneOf('--demo', values.demo, ['live-download']);
  if (demo && (files.length > 0 || values.keep))
    throw new BadArgument('--demo brings its own pods and ends by itself: it takes neither --file nor --keep');
  if (files.length === 0 && !values.keep && !demo) {
    throw new BadArgument(
      'nothing to bring up: name manifests with -f <file, folder or ->, or use --keep for an empty lab',
    );
  }
  return {
    files,
    recursive: values.recursive,
    nodes: wholeNumber('--nodes', values.nodes, 1, MAX_NODES),
    wiring: oneOf('--wiring', values.wiring, ['routed', 'bridge']),
    families: familyList(values.families),
    backend: oneOf('--backend', values.backend, BACKENDS),
    mode: oneOf('--mode', values.mode, START_MODES),
    ports: values.ports === '' ? [] : values.ports.split(',').map(port),
    timeoutMs: wholeNumber('--timeout', values.timeout ?? (demo ? '1' : '5'), 1, 600) * 1000,
    keep: values.keep,
    output: oneOf('--output', values.output, ['text', 'json']),
    steps: values.steps,
    ...(demo ? { demo } : {}),
  };
}

function localPath(path: string): string {
  if (path === '') throw new BadArgument('--file: an empty path; name a file, a folder, or - for standard input');
  if (/^https?:\/\//i.test(path))
    throw new BadArgument(`--file: the lab reads nothing from the network: curl -fsSL ${path} | portcullis lab -f -`);
  return path;
}

function oneOf<T extends string>(flag: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((candidate) => candidate === value);
  if (found === undefined)
    throw new BadArgument(`${flag}: ${JSON.stringify(value)} is not one of ${allowed.join(', ')}`);
  return found;
}

function wholeNumber(flag: string, text: string, least: number, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) {
    throw new BadArgument(`${flag}: ${JSON.stringify(text)} is not a whole number ${least}..${most}`);
  }
  return value;
}

function familyList(text: string): readonly Family[] {
  const families = text.split(',').map((word) => (word === '4' ? 4 : word === '6' ? 6 : undefined));
  if (families.includes(undefined)) throw new BadArgument(`--families: ${JSON.stringify(text)} is not 4, 6 or 4,6`);
  return [...new Set(families as Family[])];
}

function port(text: string): MatrixPort {
  const found = /^(tcp|udp|sctp):(\d{1,5})$/i.exec(text);
  const number = Number(found?.[2]);
  if (!found || number < 1 || number > 65535) {
    throw new BadArgument(`--ports: ${JSON.stringify(text)} is not like tcp:80, with tcp, udp or sctp and 1..65535`);
  }
  return { protocol: found[1]!.toUpperCase() as MatrixPort['protocol'], port: number };
}
