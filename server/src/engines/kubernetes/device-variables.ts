/** What a device plugin has programs told by, among all that a container was started with. */

/** Said by Kubernetes and the runtime to each container, or by tools to what they start. */
const OTHERS = /^(?:KUBERNETES_.*|PATH|HOME|HOSTNAME|TERM|PWD|OLDPWD|SHLVL|_)$/;

/** @param environment of the agent, whose container is given nothing else */
export const deviceVariables = (
  environment: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(environment).filter(([name]) => !OTHERS.test(name)));
