/** API objects as the server sends them. */

export interface PodOptions {
  readonly uid?: string;
  readonly version?: string;
  readonly labels?: Record<string, string>;
  readonly ip?: string;
}

export function apiPod(name: string, options: PodOptions = {}): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      namespace: 'x',
      name,
      uid: options.uid ?? `uid-${name}`,
      resourceVersion: options.version ?? '1',
      creationTimestamp: '2026-11-01T00:00:00Z',
      labels: options.labels ?? { pod: name },
    },
    spec: { nodeName: 'node-1', containers: [{ name: 'c', ports: [{ name: 'web', containerPort: 80 }] }] },
    status: { phase: 'Running', podIPs: [{ ip: options.ip ?? '203.0.113.1' }] },
  };
}

export function apiList(items: readonly unknown[], version: string, token?: string): object {
  return {
    kind: 'PodList',
    apiVersion: 'v1',
    metadata: { resourceVersion: version, ...(token === undefined ? {} : { continue: token }) },
    items,
  };
}
