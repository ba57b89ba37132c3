/** Defaults and validation per kind, other than NetworkPolicy: enough for sensible objects, not the API server's whole rule book. Pure. */
import { type Cause, cause } from './errors.ts';
import {
  check,
  checkAnnotations,
  checkFinalizers,
  checkLabelSelector,
  checkLabels,
  checkOwnerReferences,
  checkPortNumber,
  checkProtocol,
  dns1035Label,
  dnsLabel,
  dnsSubdomain,
  type NameRule,
  pathSegment,
  portName,
} from './field-rules.ts';
import { cloneJson, equalJson, isObject, textOf } from './json.ts';
import { validateClusterPolicy } from './cluster-policy-rules.ts';
import { defaultNetworkPolicy, validateNetworkPolicy } from './network-policy-rules.ts';
import type { LabelSelector, ResourceName } from './objects.ts';
import type { ResourceInfo } from './resources.ts';
import type { PolicyChannel } from './schemas.ts';
import { selectorMatches } from './selectors.ts';

type Fields = Record<string, unknown>;
type Warn = (text: string) => void;

/** Besides the object. */
interface Context {
  readonly warn: Warn;
  readonly policyChannel: PolicyChannel;
}

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const fieldsOf = (value: unknown): Fields => (isObject(value) ? value : {});
const objectsIn = (value: unknown): Fields[] => listOf(value).filter(isObject);

interface KindRules {
  readonly name: NameRule;
  /** Fills defaults in place. */
  readonly defaults?: (object: Fields) => void;
  readonly validate?: (object: Fields, warn: Warn, policyChannel: PolicyChannel) => Cause[];
  /** What an update must not change. */
  readonly validateUpdate?: (object: Fields, before: Fields) => Cause[];
}

const PLAIN: KindRules = { name: dnsSubdomain };
const ROLE: KindRules = { name: pathSegment };

const RULES: Readonly<Record<ResourceName, KindRules>> = {
  namespaces: { name: dnsLabel, defaults: defaultNamespace },
  pods: { name: dnsSubdomain, defaults: defaultPod, validate: validatePod, validateUpdate: validatePodUpdate },
  services: {
    name: dns1035Label,
    defaults: defaultService,
    validate: validateService,
    validateUpdate: validateServiceUpdate,
  },
  nodes: PLAIN,
  endpoints: PLAIN,
  events: { name: dnsSubdomain, validate: validateEvent },
  configmaps: PLAIN,
  secrets: { name: dnsSubdomain, defaults: defaultSecret },
  serviceaccounts: PLAIN,
  deployments: { name: dnsSubdomain, defaults: defaultDeployment, ...workloadChecks() },
  daemonsets: { name: dnsSubdomain, defaults: defaultDaemonSet, ...workloadChecks() },
  replicasets: { name: dnsSubdomain, defaults: defaultReplicaSet, ...workloadChecks() },
  statefulsets: { name: dnsSubdomain, defaults: defaultStatefulSet, ...workloadChecks() },
  jobs: PLAIN,
  endpointslices: { name: dnsSubdomain, validate: validateEndpointSlice },
  networkpolicies: { name: dnsSubdomain, defaults: defaultNetworkPolicy, validate: validateNetworkPolicy },
  clusternetworkpolicies: {
    name: dnsSubdomain,
    validate: (object, _, policyChannel) => validateClusterPolicy(object, policyChannel),
  },
  leases: PLAIN,
  clusterroles: ROLE,
  clusterrolebindings: ROLE,
  roles: ROLE,
  rolebindings: ROLE,
};

/** Fills the kind's defaults in place. */
export function fillDefaults(info: ResourceInfo, object: Fields): void {
  RULES[info.plural].defaults?.(object);
}

/** Everything wrong with the object, metadata first. `before` is the stored object of an update. */
export function validateObject(
  info: ResourceInfo,
  object: Fields,
  before: Fields | undefined,
  { warn, policyChannel }: Context,
): Cause[] {
  const rules = RULES[info.plural];
  return [
    ...validateMetadata(info, fieldsOf(object.metadata), rules.name),
    ...(before ? validateMetadataUpdate(fieldsOf(object.metadata), fieldsOf(before.metadata)) : []),
    ...(rules.validate?.(object, warn, policyChannel) ?? []),
    ...(before && rules.validateUpdate ? rules.validateUpdate(object, before) : []),
  ];
}

function validateMetadata(info: ResourceInfo, metadata: Fields, nameRule: NameRule): Cause[] {
  const name = textOf(metadata.name);
  const namespace = metadata.namespace;
  return [
    ...(name === ''
      ? [cause.required('metadata.name', 'name or generateName is required')]
      : check('metadata.name', name, nameRule)),
    ...(info.namespaced && namespace !== undefined ? check('metadata.namespace', textOf(namespace), dnsLabel) : []),
    ...(!info.namespaced && namespace !== undefined
      ? [cause.forbidden('metadata.namespace', 'not allowed on this type')]
      : []),
    ...checkLabels('metadata.labels', metadata.labels),
    ...checkAnnotations('metadata.annotations', metadata.annotations),
    ...checkOwnerReferences('metadata.ownerReferences', metadata.ownerReferences),
    ...checkFinalizers('metadata.finalizers', metadata.finalizers),
  ];
}

function validateMetadataUpdate(metadata: Fields, before: Fields): Cause[] {
  if (before.deletionTimestamp === undefined) return [];
  const added = listOf(metadata.finalizers).filter((name) => !listOf(before.finalizers).includes(name));
  if (added.length === 0) return [];
  const why = `no new finalizers can be added if the object is being deleted, found new finalizers ${JSON.stringify(added)}`;
  return [cause.forbidden('metadata.finalizers', why)];
}

// ---- events

/** An Event is in the namespace of its object, one on an object of the cluster in `default`. */
function validateEvent(event: Fields): Cause[] {
  const { namespace = '' } = fieldsOf(event.metadata);
  const field = 'involvedObject.namespace';
  const involved = fieldsOf(event.involvedObject).namespace ?? '';
  const isRight = involved === namespace || (involved === '' && namespace === 'default');
  return isRight ? [] : [cause.invalid(field, involved, 'does not match event.namespace')];
}

// ---- namespaces, secrets

function defaultNamespace(namespace: Fields): void {
  const metadata = fieldsOf(namespace.metadata);
  // S-21: set and kept by the API server.
  metadata.labels = { ...fieldsOf(metadata.labels), 'kubernetes.io/metadata.name': metadata.name };
  namespace.spec ??= { finalizers: ['kubernetes'] };
  const status = fieldsOf(namespace.status);
  namespace.status = { ...status, phase: metadata.deletionTimestamp === undefined ? 'Active' : 'Terminating' };
}

function defaultSecret(secret: Fields): void {
  secret.type ??= 'Opaque';
  const plain = fieldsOf(secret.stringData);
  if (Object.keys(plain).length > 0) {
    const encoded = Object.entries(plain).map(([key, value]) => [key, Buffer.from(textOf(value)).toString('base64')]);
    secret.data = { ...fieldsOf(secret.data), ...Object.fromEntries(encoded) };
  }
  delete secret.stringData;
}

// ---- pods

function defaultPodSpec(spec: Fields): void {
  spec.restartPolicy ??= 'Always';
  spec.dnsPolicy ??= 'ClusterFirst';
  spec.terminationGracePeriodSeconds ??= 30;
  spec.schedulerName ??= 'default-scheduler';
  spec.securityContext ??= {};
  for (const container of [...objectsIn(spec.containers), ...objectsIn(spec.initContainers)]) {
    container.imagePullPolicy ??= 'IfNotPresent';
    container.terminationMessagePath ??= '/dev/termination-log';
    container.terminationMessagePolicy ??= 'File';
    container.resources ??= {};
    for (const port of objectsIn(container.ports)) {
      port.protocol ??= 'TCP';
      if (spec.hostNetwork === true) port.hostPort ??= port.containerPort;
    }
  }
}

function defaultPod(pod: Fields): void {
  const spec = fieldsOf(pod.spec);
  defaultPodSpec(spec);
  spec.serviceAccountName ??= 'default';
  spec.enableServiceLinks ??= true;
  const status = fieldsOf(pod.status);
  status.phase ??= 'Pending';
  status.qosClass ??= 'BestEffort';
  pod.status = status;
}

const RESTART_POLICIES = ['Always', 'OnFailure', 'Never'];

function validatePod(pod: Fields): Cause[] {
  return validatePodSpec('spec', fieldsOf(pod.spec));
}

function validatePodSpec(field: string, spec: Fields): Cause[] {
  const restartPolicy = spec.restartPolicy;
  const containers = objectsIn(spec.containers);
  const names = [...objectsIn(spec.initContainers), ...containers].map((container) => container.name);
  return [
    ...(containers.length === 0 ? [cause.required(`${field}.containers`)] : []),
    ...containers.flatMap((container, index) => validateContainer(`${field}.containers[${index}]`, container)),
    ...objectsIn(spec.initContainers).flatMap((container, index) =>
      validateContainer(`${field}.initContainers[${index}]`, container),
    ),
    ...names
      .filter((name, index) => name !== undefined && names.indexOf(name) !== index)
      .map((name) => cause.duplicate(`${field}.containers`, name)),
    ...(RESTART_POLICIES.includes(textOf(restartPolicy))
      ? []
      : [cause.notSupported(`${field}.restartPolicy`, restartPolicy, RESTART_POLICIES)]),
    ...(spec.nodeName === undefined ? [] : check(`${field}.nodeName`, textOf(spec.nodeName), dnsSubdomain)),
    ...checkLabels(`${field}.nodeSelector`, spec.nodeSelector),
  ];
}

function validateContainer(field: string, container: Fields): Cause[] {
  const { name, image } = container;
  return [
    ...(name === undefined || name === ''
      ? [cause.required(`${field}.name`)]
      : check(`${field}.name`, textOf(name), dnsLabel)),
    ...(image === undefined || image === '' ? [cause.required(`${field}.image`)] : []),
    ...validateContainerPorts(`${field}.ports`, objectsIn(container.ports)),
  ];
}

function validateContainerPorts(field: string, ports: readonly Fields[]): Cause[] {
  const names = ports.map((port) => port.name);
  return ports.flatMap((port, index) => {
    const at = `${field}[${index}]`;
    const { name, containerPort, hostPort, protocol } = port;
    return [
      ...(name === undefined ? [] : check(`${at}.name`, textOf(name), portName)),
      ...(name !== undefined && names.indexOf(name) !== index ? [cause.duplicate(`${at}.name`, name)] : []),
      ...(containerPort === undefined
        ? [cause.required(`${at}.containerPort`)]
        : checkPortNumber(`${at}.containerPort`, containerPort)),
      ...(hostPort === undefined || hostPort === 0 ? [] : checkPortNumber(`${at}.hostPort`, hostPort)),
      ...checkProtocol(`${at}.protocol`, protocol),
    ];
  });
}

/** Of a pod's spec only images and a few times may change. */
function validatePodUpdate(pod: Fields, before: Fields): Cause[] {
  if (equalJson(fixedPodSpec(pod), fixedPodSpec(before))) return [];
  const why =
    'pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, ' +
    '`spec.activeDeadlineSeconds`, `spec.tolerations` and `spec.terminationGracePeriodSeconds`';
  return [cause.forbidden('spec', why)];
}

function fixedPodSpec(pod: Fields): Fields {
  const spec = cloneJson(fieldsOf(pod.spec));
  for (const field of ['activeDeadlineSeconds', 'tolerations', 'terminationGracePeriodSeconds']) delete spec[field];
  for (const container of [...objectsIn(spec.containers), ...objectsIn(spec.initContainers)]) delete container.image;
  return spec;
}

// ---- services

function defaultService(service: Fields): void {
  const spec = fieldsOf(service.spec);
  spec.type ??= 'ClusterIP';
  spec.sessionAffinity ??= 'None';
  if (spec.type !== 'ExternalName') spec.internalTrafficPolicy ??= 'Cluster';
  if (spec.type === 'NodePort' || spec.type === 'LoadBalancer') spec.externalTrafficPolicy ??= 'Cluster';
  for (const port of objectsIn(spec.ports)) {
    port.protocol ??= 'TCP';
    // 0 and "" are what Go clients write for "not given".
    if (port.targetPort === undefined || port.targetPort === 0 || port.targetPort === '') port.targetPort = port.port;
  }
  const status = fieldsOf(service.status);
  service.status = { loadBalancer: {}, ...status };
}

const SERVICE_TYPES = ['ClusterIP', 'ExternalName', 'LoadBalancer', 'NodePort'];

function validateService(service: Fields): Cause[] {
  const spec = fieldsOf(service.spec);
  const ports = objectsIn(spec.ports);
  const type = textOf(spec.type);
  const portless = type === 'ExternalName' || spec.clusterIP === 'None';
  return [
    ...(SERVICE_TYPES.includes(type) ? [] : [cause.notSupported('spec.type', type, SERVICE_TYPES)]),
    ...(ports.length === 0 && !portless ? [cause.required('spec.ports')] : []),
    ...(type === 'ExternalName' && !spec.externalName ? [cause.required('spec.externalName')] : []),
    ...ports.flatMap((port, index) => validateServicePort(`spec.ports[${index}]`, port, index, ports)),
    ...checkLabels('spec.selector', spec.selector),
  ];
}

function validateServicePort(field: string, port: Fields, index: number, ports: readonly Fields[]): Cause[] {
  const { name, targetPort, nodePort } = port;
  const sameName = (other: Fields): boolean => other.name === name;
  const samePort = (other: Fields): boolean => other.port === port.port && other.protocol === port.protocol;
  return [
    ...(name === undefined || name === ''
      ? ports.length > 1
        ? [cause.required(`${field}.name`)]
        : []
      : check(`${field}.name`, textOf(name), dnsLabel)),
    ...(name !== undefined && ports.findIndex(sameName) !== index ? [cause.duplicate(`${field}.name`, name)] : []),
    ...(ports.findIndex(samePort) === index
      ? []
      : [cause.duplicate(field, { port: port.port, protocol: port.protocol })]),
    ...checkPortNumber(`${field}.port`, port.port),
    ...(typeof targetPort === 'string' ? check(`${field}.targetPort`, targetPort, portName) : []),
    ...(typeof targetPort === 'number' ? checkPortNumber(`${field}.targetPort`, targetPort) : []),
    ...(nodePort === undefined || nodePort === 0 ? [] : checkPortNumber(`${field}.nodePort`, nodePort)),
    ...checkProtocol(`${field}.protocol`, port.protocol),
  ];
}

function validateServiceUpdate(service: Fields, before: Fields): Cause[] {
  const [now, then] = [fieldsOf(service.spec), fieldsOf(before.spec)];
  const external = now.type === 'ExternalName' || then.type === 'ExternalName';
  if (external || !then.clusterIP || now.clusterIP === then.clusterIP) return [];
  return [cause.invalid('spec.clusterIP', now.clusterIP ?? '', 'field is immutable')];
}

// ---- workloads

function defaultTemplate(workload: Fields): void {
  const template = fieldsOf(fieldsOf(workload.spec).template);
  if (isObject(template.spec)) defaultPodSpec(template.spec);
  workload.status ??= {};
}

function defaultDeployment(deployment: Fields): void {
  const spec = fieldsOf(deployment.spec);
  spec.replicas ??= 1;
  spec.revisionHistoryLimit ??= 10;
  spec.progressDeadlineSeconds ??= 600;
  const strategy = fieldsOf(spec.strategy);
  strategy.type ??= 'RollingUpdate';
  if (strategy.type === 'RollingUpdate') strategy.rollingUpdate ??= { maxSurge: '25%', maxUnavailable: '25%' };
  spec.strategy = strategy;
  defaultTemplate(deployment);
}

function defaultReplicaSet(replicaSet: Fields): void {
  fieldsOf(replicaSet.spec).replicas ??= 1;
  defaultTemplate(replicaSet);
}

function defaultDaemonSet(daemonSet: Fields): void {
  fieldsOf(daemonSet.spec).updateStrategy ??= {
    type: 'RollingUpdate',
    rollingUpdate: { maxSurge: 0, maxUnavailable: 1 },
  };
  defaultTemplate(daemonSet);
}

function defaultStatefulSet(statefulSet: Fields): void {
  const spec = fieldsOf(statefulSet.spec);
  spec.replicas ??= 1;
  spec.podManagementPolicy ??= 'OrderedReady';
  spec.serviceName ??= '';
  spec.updateStrategy ??= { type: 'RollingUpdate', rollingUpdate: { partition: 0 } };
  defaultTemplate(statefulSet);
}

function workloadChecks(): Pick<KindRules, 'validate' | 'validateUpdate'> {
  return { validate: validateWorkload, validateUpdate: validateWorkloadUpdate };
}

function validateWorkload(workload: Fields): Cause[] {
  const spec = fieldsOf(workload.spec);
  const template = fieldsOf(spec.template);
  const labels = fieldsOf(fieldsOf(template.metadata).labels) as Record<string, string>;
  const selector = spec.selector;
  const replicas = spec.replicas;
  return [
    ...(typeof replicas === 'number' && replicas < 0
      ? [cause.invalid('spec.replicas', replicas, 'must be greater than or equal to 0')]
      : []),
    ...(isObject(selector) ? checkLabelSelector('spec.selector', selector) : [cause.required('spec.selector')]),
    ...(isObject(selector) && !selectorMatches(selector as LabelSelector, labels)
      ? [cause.invalid('spec.template.metadata.labels', labels, '`selector` does not match template `labels`')]
      : []),
    ...checkLabels('spec.template.metadata.labels', labels),
    ...validatePodSpec('spec.template.spec', fieldsOf(template.spec)),
  ];
}

function validateWorkloadUpdate(workload: Fields, before: Fields): Cause[] {
  const [now, then] = [fieldsOf(workload.spec).selector, fieldsOf(before.spec).selector];
  return equalJson(now, then) ? [] : [cause.invalid('spec.selector', now, 'field is immutable')];
}

// ---- endpoint slices

const ADDRESS_TYPES = ['FQDN', 'IPv4', 'IPv6'];

function validateEndpointSlice(slice: Fields): Cause[] {
  const type = slice.addressType;
  if (type === undefined) return [cause.required('addressType')];
  return ADDRESS_TYPES.includes(textOf(type)) ? [] : [cause.notSupported('addressType', type, ADDRESS_TYPES)];
}
