/** Failures in the API's own form: a `Status` object with code, reason and details. Pure. */

export type CauseReason =
  | 'FieldValueInvalid'
  | 'FieldValueRequired'
  | 'FieldValueNotSupported'
  | 'FieldValueForbidden'
  | 'FieldValueTooLong'
  | 'FieldValueTooMany'
  | 'FieldValueDuplicate'
  | 'ResourceVersionTooLarge'
  | 'FieldManagerConflict';

/** One thing wrong with one field. */
export interface Cause {
  readonly reason: CauseReason;
  /** What is wrong, without the field's path. */
  readonly message: string;
  /** For example `spec.ingress[0].ports[1].endPort`. */
  readonly field: string;
}

export interface StatusDetails {
  readonly name?: string;
  readonly group?: string;
  readonly kind?: string;
  readonly uid?: string;
  readonly causes?: readonly Cause[];
  readonly retryAfterSeconds?: number;
}

export interface Status {
  readonly kind: 'Status';
  readonly apiVersion: 'v1';
  readonly metadata: { readonly continue?: string };
  readonly status: 'Failure' | 'Success';
  readonly message?: string;
  readonly reason?: string;
  readonly details?: StatusDetails;
  readonly code?: number;
}

/** A request that failed; `status` is the body of the answer. */
export class ApiError extends Error {
  readonly status: Status;
  readonly code: number;
  readonly reason: string;

  constructor(code: number, reason: string, message: string, details?: StatusDetails, continueToken?: string) {
    super(message);
    this.name = 'ApiError';
    this.code = code;
    this.reason = reason;
    this.status = {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: continueToken === undefined ? {} : { continue: continueToken },
      status: 'Failure',
      message,
      ...(reason === '' ? {} : { reason }),
      ...(details ? { details } : {}),
      code,
    };
  }
}

/** What an error needs to know of a resource. */
export interface ErrorSubject {
  readonly group: string;
  readonly plural: string;
  readonly kind: string;
}

/** `networkpolicies.networking.k8s.io`, or just `pods` for the core group. */
export function qualifiedName(subject: { readonly group: string; readonly plural: string }): string {
  return subject.group === '' ? subject.plural : `${subject.plural}.${subject.group}`;
}

const detailsOf = (subject: ErrorSubject, name: string): StatusDetails => ({
  name,
  ...(subject.group === '' ? {} : { group: subject.group }),
  kind: subject.plural,
});

export function badRequest(message: string): ApiError {
  return new ApiError(400, 'BadRequest', message);
}

export function unauthorized(): ApiError {
  return new ApiError(401, 'Unauthorized', 'Unauthorized');
}

export function forbidden(subject: ErrorSubject, name: string, why: string): ApiError {
  const what = name === '' ? qualifiedName(subject) : `${qualifiedName(subject)} ${JSON.stringify(name)}`;
  return new ApiError(403, 'Forbidden', `${what} is forbidden: ${why}`, detailsOf(subject, name));
}

export function notFound(subject: ErrorSubject, name: string): ApiError {
  const message = `${qualifiedName(subject)} ${JSON.stringify(name)} not found`;
  return new ApiError(404, 'NotFound', message, detailsOf(subject, name));
}

export function noSuchPath(): ApiError {
  return new ApiError(404, 'NotFound', 'the server could not find the requested resource', {});
}

export function methodNotAllowed(): ApiError {
  return new ApiError(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource', {});
}

export function notAcceptable(): ApiError {
  return new ApiError(406, 'NotAcceptable', 'this server answers in application/json or application/yaml only');
}

export function alreadyExists(subject: ErrorSubject, name: string): ApiError {
  const message = `${qualifiedName(subject)} ${JSON.stringify(name)} already exists`;
  return new ApiError(409, 'AlreadyExists', message, detailsOf(subject, name));
}

export function conflict(subject: ErrorSubject, name: string, why: string): ApiError {
  const message = `Operation cannot be fulfilled on ${qualifiedName(subject)} ${JSON.stringify(name)}: ${why}`;
  return new ApiError(409, 'Conflict', message, detailsOf(subject, name));
}

/** An apply that would take fields from their managers. */
export function applyConflict(conflicts: readonly { readonly field: string; readonly message: string }[]): ApiError {
  const { length } = conflicts;
  const causes = conflicts.map(({ field, message }): Cause => ({ reason: 'FieldManagerConflict', message, field }));
  const list = conflicts.map(({ field, message }) => `${message}: ${field}`).join('\n');
  const message = `Apply failed with ${length} conflict${length === 1 ? '' : 's'}: ${list}`;
  return new ApiError(409, 'Conflict', message, { causes });
}

/** An apply patch that is not of the object's type. The API server answers with 500 and no reason. */
export function untypedPatch(object: string, faults: readonly string[]): ApiError {
  const what = faults.length === 1 ? faults[0] : `errors:\n${faults.map((fault) => `  ${fault}`).join('\n')}`;
  return new ApiError(500, '', `failed to create typed patch object (${object}): ${what}`);
}

export const MODIFIED_MEANWHILE =
  'the object has been modified; please apply your changes to the latest version and try again';

/** The resource version is no longer in the history. `continueToken` lets a paged list go on from newer data. */
export function expired(message: string, continueToken?: string): ApiError {
  return new ApiError(410, 'Expired', message, undefined, continueToken);
}

export function unsupportedMediaType(given: string): ApiError {
  const message = `the body of the request was in an unsupported format: ${given || 'no Content-Type'}`;
  return new ApiError(415, 'UnsupportedMediaType', message);
}

export function invalid(subject: ErrorSubject, name: string, causes: readonly Cause[]): ApiError {
  const kind = subject.group === '' ? subject.kind : `${subject.kind}.${subject.group}`;
  const parts = causes.map((cause) => `${cause.field}: ${cause.message}`);
  const what = parts.length === 1 ? parts[0] : `[${parts.join(', ')}]`;
  const details: StatusDetails = { ...detailsOf(subject, name), kind: subject.kind, causes };
  return new ApiError(422, 'Invalid', `${kind} ${JSON.stringify(name)} is invalid: ${what}`, details);
}

/** A list or get asked for a version that this server has not reached. */
export function versionTooLarge(wanted: number, current: number): ApiError {
  const message = `Too large resource version: ${wanted}, current: ${current}`;
  const causes: Cause[] = [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version', field: '' }];
  return new ApiError(504, 'Timeout', message, { causes, retryAfterSeconds: 1 });
}

const REASON_OF_CODE: Readonly<Record<number, string>> = {
  400: 'BadRequest',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  409: 'Conflict',
  410: 'Expired',
  422: 'Invalid',
  429: 'TooManyRequests',
  500: 'InternalError',
  503: 'ServiceUnavailable',
  504: 'Timeout',
};

/** A failure of the server itself, for injected faults and caught bugs. */
export function serverError(code: number, message: string, retryAfterSeconds?: number): ApiError {
  const details = retryAfterSeconds === undefined ? undefined : { retryAfterSeconds };
  return new ApiError(code, REASON_OF_CODE[code] ?? 'Unknown', message, details);
}

const shown = (value: unknown): string => JSON.stringify(value) ?? String(value);

/** Constructors for the causes, with the wording people know from the API. */
export const cause = {
  invalid: (field: string, value: unknown, why: string): Cause => ({
    reason: 'FieldValueInvalid',
    message: `Invalid value: ${shown(value)}: ${why}`,
    field,
  }),
  required: (field: string, why = ''): Cause => ({
    reason: 'FieldValueRequired',
    message: why === '' ? 'Required value' : `Required value: ${why}`,
    field,
  }),
  notSupported: (field: string, value: unknown, supported: readonly string[]): Cause => ({
    reason: 'FieldValueNotSupported',
    message: `Unsupported value: ${shown(value)}: supported values: ${supported.map(shown).join(', ')}`,
    field,
  }),
  forbidden: (field: string, why: string): Cause => ({
    reason: 'FieldValueForbidden',
    message: `Forbidden: ${why}`,
    field,
  }),
  duplicate: (field: string, value: unknown): Cause => ({
    reason: 'FieldValueDuplicate',
    message: `Duplicate value: ${shown(value)}`,
    field,
  }),
  tooLong: (field: string, limit: number): Cause => ({
    reason: 'FieldValueTooLong',
    message: `Too long: may not be more than ${limit} bytes`,
    field,
  }),
  tooMany: (field: string, found: number, limit: number): Cause => ({
    reason: 'FieldValueTooMany',
    message: `Too many: ${found}: must have at most ${limit} items`,
    field,
  }),
};
