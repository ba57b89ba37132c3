import { messageOf } from '../core/error-text.ts';
/** Turns what Node reports into what an operator can act on. Always keeps the original text. */

/** A failed connection or TLS handshake. `caName` says where the trusted CA came from. */
export function describeNetworkFailure(error: unknown, server: string, caName: string): string {
  const code = errorCode(error) ?? '';
  const text = messageOf(error);
  switch (code) {
    case 'ECONNREFUSED':
      return `${server}: connection refused: is the API server running there? (${text})`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `${server}: host name cannot be resolved: check the server name and the node's DNS (${text})`;
    case 'ETIMEDOUT':
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return `${server}: no answer from the network: check routes and firewalls (${text})`;
    case 'ECONNRESET':
    case 'EPIPE':
      return `${server}: connection closed in the middle (${text})`;
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'CERT_SIGNATURE_FAILURE':
      return `${server}: its certificate is not signed by the CA from ${caName} (${text})`;
    case 'CERT_HAS_EXPIRED':
    case 'CERT_NOT_YET_VALID':
      return `${server}: its certificate is not valid now: check its dates and this node's clock (${text})`;
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return `${server}: its certificate is for another name (${text})`;
    case 'EPROTO':
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
    case 'ERR_SSL_PACKET_LENGTH_TOO_LONG':
      return `${server}: does not speak TLS as expected: http:// instead of https://? (${text})`;
    default:
      return `${server}: ${text}`;
  }
}

/** A file that could not be read. `what` names it: `service account token`. */
export function describeFileFailure(error: unknown, what: string, file: string): string {
  switch (errorCode(error) ?? '') {
    case 'ENOENT':
      return `${what}: file ${file} does not exist`;
    case 'EACCES':
    case 'EPERM':
      return `${what}: no permission to read ${file}`;
    case 'EISDIR':
      return `${what}: ${file} is a directory, not a file`;
    default:
      return `${what}: cannot read ${file}: ${messageOf(error)}`;
  }
}

export function errorCode(error: unknown): string | undefined {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : undefined;
}
