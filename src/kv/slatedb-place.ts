/** Where the engine finds a database: its object store, made under an environment of our making, and the path in it. */

import type { S3Access } from "./bucket-access.ts";
import { withNativeEnvironment } from "./native-environment.ts";
import { databaseFolder, type StoreLocation } from "./object-store.ts";
import { NativeObjectStore } from "./slatedb-binding.ts";

export interface NativePlace {
  readonly store: NativeObjectStore;
  readonly path: string;
  /** Where the bucket is, as it was found from options, environment and profile; empty where there is none. */
  readonly bucketUrl: string;
  /** To be called once the engine is closed, and where it did not open. Idempotent. */
  release(): Promise<void>;
}

const releaseNothing = async (): Promise<void> => {};

export function memoryPlace(): NativePlace {
  return {
    store: NativeObjectStore.resolve("memory:///"),
    path: databaseFolder,
    bucketUrl: "",
    release: releaseNothing,
  };
}

export function folderPlace(location: StoreLocation & { kind: "folder" }): NativePlace {
  const folder = location.directory.split("/").map(encodeURIComponent).join("/");
  return {
    store: NativeObjectStore.resolve(`file://${folder}`),
    path: databaseFolder,
    bucketUrl: "",
    release: releaseNothing,
  };
}

/**
 * Few, and not for long: where a path dies without a word, as in a router that forgets, each connection kept is found dead by a request's
 * time-out, one after another. Two of these are less than a commit waits for.
 */
const idleConnectionsMax = 2;
const idleConnectionSeconds = 3;

function poolVariables(reuseConnections: boolean): Readonly<Record<string, string | undefined>> {
  return {
    AWS_POOL_MAX_IDLE_PER_HOST: String(reuseConnections ? idleConnectionsMax : 0),
    AWS_POOL_IDLE_TIMEOUT: `${idleConnectionSeconds}s`,
  };
}

/** `reuseConnections`: see the tuning of that name. */
export function bucketPlace(
  location: StoreLocation & { kind: "s3" },
  { environment, release }: S3Access,
  reuseConnections: boolean,
): NativePlace {
  const variables = { ...environment, ...poolVariables(reuseConnections) };
  // Not `resolve`, which takes any variable of the environment (TOKEN, REGION) for a setting of S3. And no env file.
  const store = withNativeEnvironment(variables, () => NativeObjectStore.from_env("/dev/null"));
  const path = location.prefix === "" ? databaseFolder : `${location.prefix}/${databaseFolder}`;
  return { store, path, bucketUrl: environment.AWS_ENDPOINT ?? "", release };
}
