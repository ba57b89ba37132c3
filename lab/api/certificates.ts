/** A certificate authority for one API server, and the kubeconfig that trusts it. */
import { isIP } from 'node:net';
import { generate } from 'selfsigned';

export interface ServerCertificate {
  readonly caPem: string;
  readonly certPem: string;
  readonly keyPem: string;
}

const ONE_DAY_MS = 24 * 60 * 60 * 1000;
const VALID_DAYS = 365;

/** Makes a new authority and a server certificate for the given host names and addresses. */
export async function makeServerCertificate(hosts: readonly string[]): Promise<ServerCertificate> {
  const dates = {
    // Clocks of clients may be a little behind.
    notBeforeDate: new Date(Date.now() - ONE_DAY_MS),
    notAfterDate: new Date(Date.now() + VALID_DAYS * ONE_DAY_MS),
  };
  const ca = await generate([{ name: 'commonName', value: 'portcullis-lab-ca' }], {
    ...dates,
    keyType: 'ec',
    algorithm: 'sha256',
    extensions: [
      { name: 'basicConstraints', cA: true, critical: true },
      { name: 'keyUsage', keyCertSign: true, cRLSign: true, digitalSignature: true, critical: true },
    ],
  });
  const server = await generate([{ name: 'commonName', value: 'kube-apiserver' }], {
    ...dates,
    keyType: 'ec',
    algorithm: 'sha256',
    ca: { key: ca.private, cert: ca.cert },
    extensions: [
      { name: 'basicConstraints', cA: false, critical: true },
      { name: 'keyUsage', digitalSignature: true, critical: true },
      { name: 'extKeyUsage', serverAuth: true },
      { name: 'subjectAltName', altNames: hosts.map(alternativeName) },
    ],
  });
  return { caPem: ca.cert, certPem: server.cert, keyPem: server.private };
}

function alternativeName(host: string): { type: 2; value: string } | { type: 7; ip: string } {
  return isIP(host) === 0 ? { type: 2, value: host } : { type: 7, ip: host };
}

/** Text of a kubeconfig file for one server and token. JSON, which is YAML too. */
export function kubeconfigText(url: string, caPem: string | undefined, token: string): string {
  const cluster = {
    server: url,
    ...(caPem === undefined ? {} : { 'certificate-authority-data': Buffer.from(caPem).toString('base64') }),
  };
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'lab', cluster }],
    users: [{ name: 'lab', user: { token } }],
    contexts: [{ name: 'lab', context: { cluster: 'lab', user: 'lab' } }],
    'current-context': 'lab',
    preferences: {},
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}
