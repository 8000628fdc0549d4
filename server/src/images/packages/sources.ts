/** Which package registries are asked for what images are made of where no image registry answers. */

/** The settings, empty where not given. */
export interface PackageSettings {
  readonly goProxy: string;
  readonly pypiIndex: string;
  readonly npmRegistry: string;
  readonly mavenRepository: string;
}

export interface PackageSources {
  /** Asked in turn. Empty when the environment forbids proxies. */
  readonly goProxies: readonly string[];
  readonly pypiIndex: string;
  readonly npmRegistry: string;
  readonly mavenRepository: string;
}

/** The settings, else the variables of the registries' own clients, else the public registries. */
export function packageSources(
  settings: PackageSettings,
  environment: Readonly<Record<string, string | undefined>>,
): PackageSources {
  const first = (...values: (string | undefined)[]) => values.find((value) => value) ?? '';
  const base = (url: string) => url.replace(/\/+$/, '');
  return {
    // go.dev/ref/mod#environment-variables: a list, separated by commas or pipes. What a proxy sends is checked against a known hash, so that any may be asked.
    goProxies: first(settings.goProxy, environment.GOPROXY, 'https://proxy.golang.org')
      .split(/[,|]/)
      .map((each) => base(each.trim()))
      .filter((each) => /^https?:/.test(each)),
    pypiIndex: base(first(settings.pypiIndex, environment.PIP_INDEX_URL, 'https://pypi.org/simple')),
    npmRegistry: base(
      first(
        settings.npmRegistry,
        environment.npm_config_registry,
        environment.NPM_CONFIG_REGISTRY,
        'https://registry.npmjs.org',
      ),
    ),
    mavenRepository: base(first(settings.mavenRepository, 'https://repo1.maven.org/maven2')),
  };
}
