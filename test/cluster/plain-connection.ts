import { type Connection, connect } from '../../src/cluster/connection.ts';

/** Without TLS; `token` is sent if given. */
export function plainConnection(url: string, token?: string): Connection {
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  return connect({
    server: new URL(url),
    read: () => Promise.resolve({ headers, tls: {}, tlsVersion: '', caName: 'none' }),
    refresh: () => {},
  });
}
