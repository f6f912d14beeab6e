/** Where the engine finds a database: its object store, made under an environment of our making, and the path in it. */

import { withNativeEnvironment } from "./native-environment.ts";
import { databaseFolder, type S3Access, type StoreLocation } from "./object-store.ts";
import { NativeObjectStore } from "./slatedb-binding.ts";

export interface NativePlace {
  readonly store: NativeObjectStore;
  readonly path: string;
}

export function folderPlace(location: StoreLocation & { kind: "folder" }): NativePlace {
  const folder = location.directory.split("/").map(encodeURIComponent).join("/");
  return { store: NativeObjectStore.resolve(`file://${folder}`), path: databaseFolder };
}

/** `reuseConnections`: see the tuning of that name. */
export function bucketPlace(
  location: StoreLocation & { kind: "s3" },
  { environment }: S3Access,
  reuseConnections: boolean,
): NativePlace {
  const variables = { ...environment, AWS_POOL_MAX_IDLE_PER_HOST: reuseConnections ? undefined : "0" };
  // Not `resolve`, which takes any variable of the environment (TOKEN, REGION) for a setting of S3. And no env file.
  const store = withNativeEnvironment(variables, () => NativeObjectStore.from_env("/dev/null"));
  return { store, path: location.prefix === "" ? databaseFolder : `${location.prefix}/${databaseFolder}` };
}
