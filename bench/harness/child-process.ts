/** Child processes that end with this one, however it ends. */

/** Runs a file of this repository; its standard output is piped, its errors go where ours go. */
export function spawnBun(file: string, words: readonly string[]): Bun.Subprocess<"ignore", "pipe", "inherit"> {
  const child = Bun.spawn([process.execPath, file, ...words], {
    // As it is now: without this, as it was when the process began.
    env: process.env,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  const end = (): void => child.kill("SIGKILL");
  process.once("exit", end);
  void child.exited.then(() => process.removeListener("exit", end));
  return child;
}
