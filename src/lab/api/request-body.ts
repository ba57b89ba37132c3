/** Reading the body of a request: JSON, YAML or protobuf by its Content-Type. */
import type { IncomingMessage } from 'node:http';
import { parse as parseYaml } from 'yaml';
import { ApiError, badRequest, unsupportedMediaType } from './errors.ts';
import { isObject } from './json.ts';
import { decodeProtobuf } from './protobuf.ts';

/** The API server's limit on a request's body. */
const MAX_BODY_BYTES = 3 * 1024 * 1024;

export interface RequestBody {
  readonly contentType: string;
  readonly bytes: Buffer;
}

/**
 * Throws 413 for a body over the limit. Such a body is still read to its end, so that the client comes to see the answer,
 * unless it goes on and on: then the connection is cut.
 */
export async function readBody(request: IncomingMessage): Promise<RequestBody> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size <= MAX_BODY_BYTES) chunks.push(chunk);
    else if (size > 8 * MAX_BODY_BYTES) break;
  }
  if (size > MAX_BODY_BYTES) {
    throw new ApiError(413, 'RequestEntityTooLarge', `the body is larger than the limit of ${MAX_BODY_BYTES} bytes`);
  }
  return { contentType: request.headers['content-type'] ?? '', bytes: Buffer.concat(chunks) };
}

/** A missing type is taken as JSON, as curl users expect. */
export function mediaType(contentType: string): string {
  return (contentType.split(';')[0] ?? '').trim() || 'application/json';
}

/** Throws 415 for other types, 400 for what cannot be read. */
export function parseBody(body: RequestBody): unknown {
  const type = mediaType(body.contentType);
  if (type === 'application/vnd.kubernetes.protobuf') return decodeProtobuf(body.bytes);
  const yaml = type === 'application/yaml' || type === 'application/apply-patch+yaml';
  if (!yaml && type !== 'application/json' && !type.endsWith('+json')) throw unsupportedMediaType(type);
  const text = body.bytes.toString('utf8');
  try {
    return yaml ? parseYaml(text) : JSON.parse(text);
  } catch (error) {
    throw badRequest(`the object provided is unrecognized: ${(error as Error).message}`);
  }
}

export function parseObject(body: RequestBody): Record<string, unknown> {
  const parsed = parseBody(body);
  if (!isObject(parsed)) throw badRequest('the body must hold one object');
  return parsed;
}
