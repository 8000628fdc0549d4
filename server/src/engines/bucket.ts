/** Buckets of object stores that speak S3, shown as directories inside instances. */

/** Which objects. Checked: every part is what its kind may be, and safe as an argument of a program. */
export interface Bucket {
  readonly name: string;
  /** `https://host` or `http://host:port`, and nothing behind it. */
  readonly endpoint: string;
  /** What the keys that are seen begin with, ending in a slash; empty for all. */
  readonly prefix: string;
  /** Undefined: the store says, or has none. */
  readonly region: string | undefined;
  /** How objects are addressed: `endpoint/name/key` or `name.endpoint/key`. */
  readonly pathStyle: boolean;
  readonly requesterPays: boolean;
}

export interface BucketKeys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Of keys that hold for a while. */
  readonly sessionToken: string | undefined;
}

/** A bucket shown inside an instance, which never sees the keys. */
export interface InstanceBucket {
  readonly bucket: Bucket;
  /** Undefined: it is public. */
  readonly keys: BucketKeys | undefined;
  readonly target: string;
  readonly readOnly: boolean;
}
