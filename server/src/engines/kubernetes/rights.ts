/** What a server asks of a cluster, in the namespace of its sandboxes: the Role of `deploy/kubernetes/access.yaml` lets it do this and no more. */

export interface Right {
  readonly apiGroup: string;
  readonly resource: string;
  readonly verbs: readonly string[];
}

export const RIGHTS: readonly Right[] = [
  { apiGroup: '', resource: 'pods', verbs: ['create', 'delete', 'get', 'list', 'patch', 'watch'] },
  { apiGroup: '', resource: 'secrets', verbs: ['create', 'delete', 'list', 'update'] },
];

/** Beside these, so that whoever waits in vain is told what nodes say of a Pod that they cannot start. A server does without it. */
export const EVENT_RIGHT: Right = { apiGroup: '', resource: 'events', verbs: ['list'] };

/** Likewise where the cluster's network holds Pods to policies. */
export const POLICY_RIGHT: Right = {
  apiGroup: 'networking.k8s.io',
  resource: 'networkpolicies',
  verbs: ['create', 'delete', 'update'],
};
