/** `portcullis status`: is what the API server has in force on every node? */
import { readFile } from 'node:fs/promises';
import type { CommandContext } from './command.ts';
import type { StatusFlags } from './status-flags.ts';

import { loadConnection } from '../cluster/connection.ts';
import { messageOf } from '../core/error-text.ts';
import { CannotAsk, askNodes, readWanted } from './ask-nodes.ts';
import { EXIT_FAILURE, EXIT_OK, EXIT_USAGE } from './exit-codes.ts';
import { judgeNodes, verdictText } from './judge-nodes.ts';

const USER_AGENT = 'portcullis-status';

export async function runStatus(flags: StatusFlags, { env, signal, out, err }: CommandContext): Promise<number> {
  try {
    const token = flags.tokenFile === undefined ? undefined : await readToken(flags.tokenFile);
    const connection = await connect(flags, env);
    try {
      const { namespace, selector, port, timeoutMs } = flags;
      const options = { connection, namespace, selector, port, token, timeoutMs, signal };
      const wanted = await readWanted(options, flags.policy);
      const verdict = judgeNodes(await askNodes(options, wanted), wanted);
      out(flags.output === 'json' ? `${JSON.stringify(verdict, null, 2)}\n` : verdictText(verdict));
      return verdict.ok ? EXIT_OK : EXIT_FAILURE;
    } finally {
      connection.close();
    }
  } catch (error) {
    if (!(error instanceof CannotAsk)) throw error;
    err(`portcullis status: ${error.message}\n`);
    return EXIT_USAGE;
  }
}

async function connect({ kubeconfig }: StatusFlags, env: CommandContext['env']): ReturnType<typeof loadConnection> {
  try {
    return await loadConnection({ env, userAgent: USER_AGENT, ...(kubeconfig === undefined ? {} : { kubeconfig }) });
  } catch (error) {
    throw new CannotAsk(messageOf(error));
  }
}

async function readToken(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (error) {
    throw new CannotAsk(`--token-file: ${messageOf(error)}`);
  }
}
