/**
 * How the process that runs a configuration file marks its answer: whatever else it prints is the file's.
 *
 * @module
 */

/** What follows is what the file exports, as JSON. */
export const READ = "prefork-config:";

/** What follows is why it cannot be used. */
export const FAILED = "prefork-config-failed:";
