/** Reading the body of a request: JSON, YAML or protobuf by its Content-Type. */
import type { IncomingMessage } from 'node:http';
import { LineCounter, parseDocument } from 'yaml';
import { ApiError, badRequest, unsupportedMediaType } from './errors.ts';
import { isObject } from './json.ts';
import { decodeProtobuf } from './protobuf.ts';
import { readJson } from './read-json.ts';

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

export interface ParsedBody {
  readonly value: unknown;
  /** One sentence per key given twice. */
  readonly duplicates: readonly string[];
  /** See read-json.ts; YAML has none, as it is turned into JSON before it is decoded. */
  readonly fractions: ReadonlyMap<string, string>;
}

/** Throws 415 for other types, 400 for what cannot be read. */
export function parseBody(body: RequestBody): ParsedBody {
  const type = mediaType(body.contentType);
  if (type === 'application/vnd.kubernetes.protobuf') return plainBody(decodeProtobuf(body.bytes));
  const yaml = type === 'application/yaml' || type === 'application/apply-patch+yaml';
  if (!yaml && type !== 'application/json' && !type.endsWith('+json')) throw unsupportedMediaType(type);
  const text = body.bytes.toString('utf8');
  try {
    return yaml ? parseYamlBody(text) : parseJsonBody(text);
  } catch (error) {
    throw badRequest(`the object provided is unrecognized: ${(error as Error).message}`);
  }
}

const plainBody = (value: unknown): ParsedBody => ({ value, duplicates: [], fractions: new Map() });

function parseJsonBody(text: string): ParsedBody {
  const { value, duplicates, fractions } = readJson(text);
  return { value, fractions, duplicates: duplicates.map((field) => `duplicate field ${JSON.stringify(field)}`) };
}

function parseYamlBody(text: string): ParsedBody {
  const lines = new LineCounter();
  const document = parseDocument(text, { prettyErrors: false, lineCounter: lines });
  const [error] = document.errors.filter(({ code }) => code !== 'DUPLICATE_KEY');
  if (error) throw error;
  const duplicates = document.errors.map(({ pos }) => `line ${lines.linePos(pos[0]).line}: key already set in map`);
  return { ...plainBody(document.toJS()), duplicates };
}

/** `parseBody` for bodies that hold one object. */
export function parseObject(body: RequestBody): Record<string, unknown> {
  return parseObjectBody(body).value;
}

export function parseObjectBody(body: RequestBody): ParsedBody & { readonly value: Record<string, unknown> } {
  const parsed = parseBody(body);
  const { value } = parsed;
  if (!isObject(value)) throw badRequest('the body must hold one object');
  return { ...parsed, value };
}
