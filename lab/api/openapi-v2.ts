/**
 * The older OpenAPI document, in which kubectl looks up the kinds of a `List` file before it sends the items.
 * Every kind is an object of any content; the server checks the content itself. Pure.
 */
import { SERVER_VERSION } from './discovery.ts';
import { apiVersionOf, RESOURCES, type ResourceInfo } from './resources.ts';

interface Definition {
  readonly name: string;
  /** JSON, which is YAML too. */
  readonly groupVersionKind: string;
}

const LIST: Definition = {
  name: 'v1.List',
  groupVersionKind: JSON.stringify([{ group: '', version: 'v1', kind: 'List' }]),
};

function definitions(): readonly Definition[] {
  const definition = ({ group, version, kind }: ResourceInfo): Definition => ({
    name: `${apiVersionOf({ group, version }).replaceAll('/', '.')}.${kind}`,
    groupVersionKind: JSON.stringify([{ group, version, kind }]),
  });
  return [LIST, ...RESOURCES.map(definition)];
}

const TITLE = 'Portcullis lab';
const EXTENSION = 'x-kubernetes-group-version-kind';

export function openApiV2Document(): object {
  const entries = definitions().map(({ name, groupVersionKind }) => [
    name,
    { type: 'object', [EXTENSION]: JSON.parse(groupVersionKind) as unknown },
  ]);
  const info = { title: TITLE, version: SERVER_VERSION };
  return { swagger: '2.0', info, paths: {}, definitions: Object.fromEntries(entries) };
}

/** As asked for. The answer's own type is written with a dot, because `@` may not stand in a media type. */
export const OPENAPI_V2_ACCEPT = 'application/com.github.proto-openapi.spec.v2@v1.0+protobuf';
export const OPENAPI_V2_PROTOBUF = 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf';

/** The same as a gnostic `openapi.v2.Document` message, the only form kubectl takes. */
export function openApiV2Protobuf(): Buffer {
  const named = definitions().map(({ name, groupVersionKind }) => {
    const type = field(22, field(1, 'object'));
    const extension = field(31, field(1, EXTENSION), field(2, field(2, groupVersionKind)));
    return field(1, field(1, name), field(2, type, extension));
  });
  const info = field(2, field(1, TITLE), field(2, SERVER_VERSION));
  return Buffer.concat([field(1, '2.0'), info, field(8), field(9, ...named)]);
}

/** One length-delimited protobuf field: a text, or a message made of fields. */
function field(number: number, ...content: readonly (Buffer | string)[]): Buffer {
  const data = Buffer.concat(content.map((part) => Buffer.from(part)));
  return Buffer.concat([varint(number * 8 + 2), varint(data.length), data]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  return Buffer.from([...bytes, rest]);
}
