/** One `relay.pl` in a node: the only way between the lab and the rest of the machine, and no packet takes it. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { LineProcess } from './line-process.ts';

const RELAY_SCRIPT = fileURLToPath(new URL('./relay.pl', import.meta.url));

export class Relay {
  readonly #process: LineProcess;

  constructor(node: string, netns: string) {
    this.#process = new LineProcess(`relay ${node}`, ['ip', 'netns', 'exec', netns, 'perl', RELAY_SCRIPT]);
  }

  /** Connections to `127.0.0.1:<port>` of the node lead to the unix socket `path`. Gives what closes it again. */
  openInward(port: number, path: string): Promise<() => Promise<void>> {
    return this.#open(`tcp:${port}`, `unix:${path}`);
  }

  /** Connections to the unix socket `path`, which it makes, lead to `<address>:<port>` as the node sees it; default 127.0.0.1. */
  openOutward(path: string, port: number, address?: string): Promise<() => Promise<void>> {
    return this.#open(`unix:${path}`, address === undefined ? `tcp:${port}` : `tcp:${address},${port}`);
  }

  stop(): Promise<void> {
    return this.#process.stop();
  }

  kill(): void {
    this.#process.kill();
  }

  async #open(listen: string, target: string): Promise<() => Promise<void>> {
    const { id } = await this.#process.request('open', listen, target);
    return async () => void (await this.#process.request('close', id));
  }
}

/** A unix socket in front of a TCP listener of this machine's own namespace. */
export async function unixDoorTo(
  target: { readonly host: string; readonly port: number },
  path: string,
): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (near) => {
    const far = connect({ ...target, allowHalfOpen: true });
    join(near, far);
    join(far, near);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  return server;
}

function join(from: Socket, to: Socket): void {
  from.pipe(to);
  from.on('error', () => to.destroy());
}
