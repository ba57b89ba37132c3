/** Who may do what: bearer tokens, and verbs taken away from some of them. Pure. */
import type { ResourceRequest } from './api-request.ts';
import { type ApiError, forbidden } from './errors.ts';

export interface DenyRule {
  /** Plural name, or `*`. */
  readonly resource: string;
  /** Verb as in RBAC, or `*`. */
  readonly verb: string;
  /** Only in this namespace; absent: everywhere. */
  readonly namespace?: string;
}

export interface AccessToken {
  readonly token: string;
  /** User name shown in refusals. */
  readonly user?: string;
  /** Everything is allowed but this. */
  readonly deny?: readonly DenyRule[];
}

/** The token of an `Authorization: Bearer` header, if it is one of ours. */
export function authenticate(tokens: readonly AccessToken[], header: string | undefined): AccessToken | undefined {
  const given = /^Bearer\s+(\S+)$/i.exec(header ?? '')?.[1];
  return given === undefined ? undefined : tokens.find((token) => token.token === given);
}

export interface AccessQuestion {
  readonly verb: string;
  readonly resource: string;
  readonly namespace: string | undefined;
}

export function isAllowed(token: AccessToken, question: AccessQuestion): boolean {
  return !(token.deny ?? []).some(
    (rule) =>
      (rule.resource === '*' || rule.resource === question.resource) &&
      (rule.verb === '*' || rule.verb === question.verb) &&
      (rule.namespace === undefined || rule.namespace === question.namespace),
  );
}

/** 403 in the words of RBAC if the token may not do this. */
export function authorize(token: AccessToken, request: ResourceRequest): ApiError | undefined {
  const { verb, info, namespace, name } = request;
  const resource = request.subresource ? `${info.plural}/${request.subresource}` : info.plural;
  if (isAllowed(token, { verb, resource: info.plural, namespace }) && isAllowed(token, { verb, resource, namespace })) {
    return undefined;
  }
  const place = namespace === undefined ? 'at the cluster scope' : `in the namespace "${namespace}"`;
  const why = `User "${token.user ?? 'unnamed'}" cannot ${verb} resource "${resource}" in API group "${info.group}" ${place}`;
  return forbidden(info, name ?? '', why);
}
