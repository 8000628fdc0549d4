/**
 * Reads the URL of a database as libpq does, PostgreSQL's own library: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS.
 * What is not known is refused rather than left out, since a slip in `sslmode` would go unnoticed. No error repeats any of it but names of parameters.
 */
import { SkerryError } from '../../errors/skerry-error.ts';

/** `prefer`: TLS where the database has it. */
export type TlsMode = 'disable' | 'prefer' | 'require' | 'verify-ca' | 'verify-full';

export interface DatabaseUrl {
  /** A name, an address, or the directory of a socket, with a slash in front. */
  readonly host: string;
  readonly port: string;
  /** Undefined for those that `pg` takes by itself, from the environment. */
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly database: string | undefined;
  readonly applicationName: string | undefined;
  /** Settings of the session, as `-c name=value`. */
  readonly options: string | undefined;
  readonly tls: TlsMode;
  /** The file with certificates of authorities that the database's is held against, or `system` for those of this machine. */
  readonly authorities: string | undefined;
  /** Files of the certificate that shows who the server is. */
  readonly certificate:
    | { readonly cert: string; readonly key: string; readonly passphrase: string | undefined }
    | undefined;
  /** `host:port/name`, for texts. */
  readonly place: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

const FORM =
  /^postgres(?:ql)?:\/\/(?:([^:@/]*)(?::([^@/]*))?@)?(\[[^\]]*\]|[^[\]:/?,@]*)(?::(\d*))?(?:\/([^?]*))?(?:\?(.*))?$/;

const PARAMETERS = [
  ...['host', 'port', 'user', 'password', 'dbname', 'application_name', 'options'],
  ...['ssl', 'sslmode', 'sslrootcert', 'sslcert', 'sslkey', 'sslpassword'],
];
/** What to say of those that libpq has and that have another way here. */
const INSTEAD: Readonly<Record<string, string>> = {
  passfile:
    ' A file with the password is named by SKERRY_DATABASE_PASSWORD_FILE, one of the form of ~/.pgpass by PGPASSFILE.',
};

const invalid = (message: string) => new SkerryError('invalid-argument', message);

/** @throws SkerryError `invalid-argument` */
export function parseDatabaseUrl(url: string, env: Environment = process.env): DatabaseUrl {
  const match = FORM.exec(url);
  if (!match)
    throw invalid(
      'The database URL is not one of the form postgres://user:password@host:port/name. In a password @ is written as %40, : as %3A, / as %2F and % as %25.',
    );
  const [, user, password, host, port, name, query = ''] = match;
  const parameters = parametersOf(query);
  const given = (key: string, ...otherwise: (string | undefined)[]) =>
    [parameters.get(key), ...otherwise].find((value) => value !== undefined && value !== '');
  const where = {
    host: given('host', decoded(host)?.replace(/^\[(.*)\]$/, '$1'), env.PGHOST) ?? 'localhost',
    port: given('port', port, env.PGPORT) ?? '5432',
  };
  if (!/^\d{1,5}$/.test(where.port)) throw invalid('The port of the database URL is no number.');
  const database = given('dbname', decoded(name));
  return {
    ...where,
    ...{ user: given('user', decoded(user)), password: given('password', decoded(password)), database },
    ...{ applicationName: given('application_name'), options: given('options') },
    ...tlsOf(given, env),
    place: `${where.host}:${where.port}/${database ?? ''}`,
  };
}

type Given = (key: string, ...otherwise: (string | undefined)[]) => string | undefined;

function tlsOf(given: Given, env: Environment): Pick<DatabaseUrl, 'tls' | 'authorities' | 'certificate'> {
  const authorities = given('sslrootcert', env.PGSSLROOTCERT);
  const isOfSystem = authorities === 'system';
  const mode = given('sslmode', given('ssl') === 'true' ? 'require' : undefined, env.PGSSLMODE);
  const tls = modeOf(mode ?? (isOfSystem ? 'verify-full' : 'prefer'), authorities);
  if (isOfSystem && (tls === 'require' || tls === 'verify-ca'))
    throw invalid(
      `With sslrootcert=system a certificate of anybody's would do for sslmode=${tls}: say sslmode=verify-full.`,
    );
  if (tls === 'prefer' && authorities !== undefined)
    throw invalid(
      'The database URL has sslrootcert, which is of no use without sslmode=verify-full, or sslmode=verify-ca where names are not to be compared.',
    );
  if (tls.startsWith('verify-') && authorities === undefined)
    throw invalid(
      `sslmode=${tls} needs sslrootcert: the file with the certificate of the database's authority, or sslrootcert=system with sslmode=verify-full for the authorities that this machine trusts.`,
    );
  const [cert, key] = [given('sslcert', env.PGSSLCERT), given('sslkey', env.PGSSLKEY)];
  if ((cert === undefined) !== (key === undefined))
    throw invalid('sslcert and sslkey belong together: the database URL has one of them.');
  const certificate =
    cert === undefined || key === undefined ? undefined : { cert, key, passphrase: given('sslpassword') };
  return { tls, authorities, certificate };
}

/** `allow` would begin without TLS, which is no use to anybody; to `require` a certificate of an authority is what it is to libpq. */
function modeOf(text: string, authorities: string | undefined): TlsMode {
  switch (text) {
    case 'allow':
      return 'prefer';
    case 'require':
      return authorities === undefined || authorities === 'system' ? text : 'verify-ca';
    case 'disable':
    case 'prefer':
    case 'verify-ca':
    case 'verify-full':
      return text;
    default:
      throw invalid(
        'The sslmode of the database is none of disable, allow, prefer, require, verify-ca and verify-full.',
      );
  }
}

function parametersOf(query: string): ReadonlyMap<string, string> {
  const parameters = new Map<string, string>();
  for (const part of query.split('&').filter((each) => each !== '')) {
    const at = part.indexOf('=');
    const name = decoded(at < 0 ? part : part.slice(0, at)) ?? '';
    if (!PARAMETERS.includes(name))
      // What is no word may be part of a password.
      throw invalid(
        `The database URL has ${/^[a-z_]{1,40}$/.test(name) ? `a parameter ${name}` : 'a parameter'} that is not known here; there are ${PARAMETERS.join(', ')}.${INSTEAD[name] ?? ''}`,
      );
    if (at < 0) throw invalid(`The database URL has a parameter ${name} without a value.`);
    parameters.set(name, decoded(part.slice(at + 1)) ?? '');
  }
  return parameters;
}

function decoded(text: string | undefined): string | undefined {
  try {
    return text === undefined ? undefined : decodeURIComponent(text);
  } catch {
    throw invalid('The database URL has a % that begins no %XX: a % itself is written as %25.');
  }
}
