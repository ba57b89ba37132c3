/**
 * Whether the API server says that it does not have a resource. A 404 alone does not say it: servers answer with plain text where no
 * handler is (k8s.io/apiserver, notfoundhandler), and so does any proxy.
 */
import { isRecord, type RawRecord } from '../policy/raw-values.ts';
import type { Resource } from './kinds.ts';
import { parseJson, readBounded } from './read-answer.ts';
import type { Transport } from './transport.ts';

const MAX_DISCOVERY = 4 * 1024 * 1024;

/** False in doubt. Rejects if the server cannot be reached. */
export async function isUnserved(
  transport: Transport,
  { path, kind }: Resource,
  signal: AbortSignal,
): Promise<boolean> {
  const versionPath = path.slice(0, path.lastIndexOf('/'));
  const resources = await ask(transport, versionPath, 'APIResourceList', 'resources', signal);
  if (resources !== 'missing') return resources !== 'unknown' && !resources.some(({ name }) => name === kind);
  const groups = await ask(transport, '/apis', 'APIGroupList', 'groups', signal);
  if (groups === 'missing' || groups === 'unknown') return false;
  const versions = groups.flatMap((group) => (Array.isArray(group.versions) ? group.versions.filter(isRecord) : []));
  return !versions.some(({ groupVersion }) => `/apis/${String(groupVersion)}` === versionPath);
}

/** The items of a discovery document. `missing`: 404. */
async function ask(
  transport: Transport,
  path: string,
  kind: string,
  field: string,
  signal: AbortSignal,
): Promise<readonly RawRecord[] | 'missing' | 'unknown'> {
  const response = await transport.open({ path, signal });
  const body = parseJson(await readBounded(response, MAX_DISCOVERY));
  if (response.status === 404) return 'missing';
  const items = response.status === 200 && isRecord(body) && body.kind === kind ? body[field] : undefined;
  return Array.isArray(items) ? items.filter(isRecord) : 'unknown';
}
