/** Where the API server is and what every request to it carries. */
import type { Agent } from 'node:http';
import type { AgentOptions } from 'node:https';

/** The API server cannot be reached the way it was asked for; the message says what to repair. */
export class ConnectionProblem extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ConnectionProblem';
  }
}

/** What every request of one server needs. Read before each request. */
export interface Credentials {
  readonly headers: Readonly<Record<string, string>>;
  /** TLS material; a change of `tlsVersion` makes a new agent. */
  readonly tls: AgentOptions;
  readonly tlsVersion: string;
  /** Where the CA came from, for messages. */
  readonly caName: string;
  /** An agent made elsewhere (kubeconfig with proxy-url); used instead of ours. */
  readonly agent?: Agent;
}

export interface CredentialSource {
  readonly server: URL;
  read(): Promise<Credentials>;
  /** The next `read` asks the origin again. */
  refresh(): void;
}

/** Checks a server URL. `where` says what to correct. */
export function parseServer(text: string, where: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || url.hostname === '' || (url.protocol !== 'https:' && url.protocol !== 'http:'))
    throw new ConnectionProblem(`${where}: "${text}" is not a server URL such as https://192.0.2.1:6443`);
  return url;
}
