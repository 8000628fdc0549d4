/** What is counted where it must cost nothing: plain numbers since the server's start, which are read when somebody asks for metrics. */
export class Counts {
  /** Processes that clients started in sandboxes; entrypoints are none. */
  execs = 0;
  /** Bytes that programs wrote to their output. */
  outputBytes = 0;
  /** Bytes that programs were given as input. */
  inputBytes = 0;
  /** Starts that were given an instance that waited. */
  warmHits = 0;
  /** Starts that could have been, and had to make their own. */
  warmMisses = 0;
}
