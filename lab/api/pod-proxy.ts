/** `GET .../pods/NAME:PORT/proxy/PATH`: the API server asks the pod, and hands the answer on. */
import { type IncomingHttpHeaders, type IncomingMessage, request as httpRequest, type ServerResponse } from 'node:http';
import { badRequest, notFound, serverError } from './errors.ts';
import type { ResourceRequest } from './api-request.ts';
import type { ApiStore } from './api-store.ts';
import type { PodObject } from './objects.ts';

/** The unix socket that leads to a port of the pod, at its address. */
export type PodPorts = (pod: PodObject, port: number) => Promise<{ readonly path: string }>;

/** Rejects with ApiError. */
export async function proxyToPod(
  store: ApiStore,
  { info, namespace, name = '', path = '/', query }: ResourceRequest,
  request: IncomingMessage,
  response: ServerResponse,
  ports: PodPorts,
): Promise<void> {
  const [, podName = '', digits] = /^(?:https?:)?([^:]+)(?::(.*))?$/.exec(name) ?? [];
  const pod = store.get('pods', { namespace, name: podName }) as PodObject | undefined;
  if (!pod) throw notFound(info, podName);
  const port = digits === undefined ? pod.spec.containers[0]?.ports?.[0]?.containerPort : Number(digits);
  if (!port || !Number.isInteger(port)) throw badRequest(`invalid pod request ${JSON.stringify(name)}`);
  if (!pod.status?.podIP) throw badRequest('address not allowed');
  const search = query.size > 0 ? `?${query.toString()}` : '';
  const headers = forwarded(request.headers);
  const { path: socketPath } = await ports(pod, port);
  await new Promise<void>((resolve, reject) => {
    const asked = httpRequest({ socketPath, path: path + search, method: request.method, headers, agent: false });
    asked.on('response', (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
      answer.on('error', () => response.destroy());
      resolve();
    });
    asked.on('error', (error) => {
      if (response.headersSent) response.destroy();
      reject(
        serverError(503, `error trying to reach service: dial tcp ${pod.status?.podIP}:${port}: ${error.message}`),
      );
    });
    response.on('close', () => asked.destroy());
    request.pipe(asked);
  });
}

/** The API server's own credentials are nobody else's business. */
function forwarded(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const { authorization, ...rest } = headers;
  return authorization === undefined ? headers : rest;
}
