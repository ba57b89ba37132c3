/** What the Prometheus operator makes of a PodMonitor: the same as a scrape configuration of Prometheus itself. */

export interface PodMonitor {
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: {
    readonly jobLabel: string;
    readonly selector: { readonly matchLabels: Readonly<Record<string, string>> };
    readonly podMetricsEndpoints: readonly [PodEndpoint];
  };
}

interface PodEndpoint {
  readonly port: string;
  readonly path: string;
  readonly interval: string;
  readonly scrapeTimeout: string;
  readonly relabelings: readonly Readonly<Record<string, unknown>>[];
}

const metaLabel = (label: string): string => `__meta_kubernetes_pod_label_${label.replaceAll(/[^a-zA-Z0-9_]/g, '_')}`;

interface Pod {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly spec: {
    readonly nodeName?: string;
    readonly containers: readonly {
      readonly name: string;
      readonly ports?: readonly {
        readonly name?: string;
        readonly containerPort: number;
        readonly protocol?: string;
      }[];
    }[];
  };
  readonly status?: { readonly phase?: string; readonly podIP?: string };
}

interface TargetGroup {
  readonly targets: readonly [string];
  readonly labels: Readonly<Record<string, string>>;
}

/** Prometheus' discovery of role pod, as a file for it: Debian builds it without Kubernetes. One target per declared port. */
export function discoverPods(pods: readonly Pod[]): readonly TargetGroup[] {
  return pods.flatMap(({ metadata, spec, status }) =>
    spec.containers.flatMap(({ name, ports = [] }) =>
      ports.map((port): TargetGroup => {
        const labels = Object.entries(metadata.labels ?? {}).map(([label, value]) => [metaLabel(label), value]);
        return {
          targets: [`${status?.podIP}:${port.containerPort}`],
          labels: {
            ...Object.fromEntries(labels),
            __meta_kubernetes_namespace: metadata.namespace ?? '',
            __meta_kubernetes_pod_name: metadata.name,
            __meta_kubernetes_pod_node_name: spec.nodeName ?? '',
            __meta_kubernetes_pod_phase: status?.phase ?? '',
            __meta_kubernetes_pod_container_name: name,
            __meta_kubernetes_pod_container_port_name: port.name ?? '',
          },
        };
      }),
    ),
  );
}

export function scrapeConfig({ metadata, spec }: PodMonitor): Readonly<Record<string, unknown>> {
  const [{ port, path, interval, scrapeTimeout, relabelings }] = spec.podMetricsEndpoints;
  return {
    job_name: 'portcullis',
    scrape_interval: interval,
    scrape_timeout: scrapeTimeout,
    metrics_path: path,
    kubernetes_sd_configs: [{ role: 'pod', namespaces: { names: [metadata.namespace] } }],
    relabel_configs: [
      { source_labels: ['__meta_kubernetes_pod_phase'], regex: '(Failed|Succeeded)', action: 'drop' },
      ...Object.entries(spec.selector.matchLabels).map(([label, value]) => ({
        source_labels: [metaLabel(label)],
        regex: value,
        action: 'keep',
      })),
      { source_labels: ['__meta_kubernetes_pod_container_port_name'], regex: port, action: 'keep' },
      { source_labels: ['__meta_kubernetes_namespace'], target_label: 'namespace' },
      { source_labels: ['__meta_kubernetes_pod_container_name'], target_label: 'container' },
      { source_labels: ['__meta_kubernetes_pod_name'], target_label: 'pod' },
      { source_labels: [metaLabel(spec.jobLabel)], target_label: 'job', regex: '(.+)' },
      { target_label: 'endpoint', replacement: port },
      ...relabelings.map((each) =>
        Object.fromEntries(
          Object.entries(each).map(([key, value]) => [
            key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
            value,
          ]),
        ),
      ),
    ],
  };
}
