"""Logs artifacts as the client does, request by request."""

import base64
import hashlib
import json

CREATE = """mutation($input: CreateArtifactInput!) { createArtifact(input: $input) { artifact { id
  state versionIndex artifactSequence { id latestArtifact { id } } } } }"""
MANIFEST = """mutation($id: ID!, $base: ID, $digest: String!, $type: ArtifactManifestType!,
  $up: Boolean!) { createArtifactManifest(input: {artifactID: $id, baseArtifactID: $base,
  name: "wandb_manifest.json", digest: $digest, entityName: "alice", projectName: "toy",
  runName: "r1", type: $type}) { artifactManifest { id file { id uploadUrl @include(if: $up)
  uploadHeaders @include(if: $up) } } } }"""
FILES = """mutation($input: CreateArtifactFilesInput!) { createArtifactFiles(input: $input) {
  files { edges { node { storagePath uploadUrl uploadHeaders uploadMultipartUrls { uploadID
  uploadUrlParts { partNumber uploadUrl } } artifact { id } } } } } }"""
COMMIT = """mutation($id: ID!) { commitArtifact(input: {artifactID: $id}) { artifact { id digest
  versionIndex size fileCount aliases { alias } } } }"""
COMPLETE = """mutation($id: ID!, $parts: [UploadPartsInput!]!, $path: String!, $upload: String!) {
  completeMultipartUploadArtifact(input: {completeMultipartAction: Complete,
  completedParts: $parts, artifactID: $id, storagePath: $path, uploadID: $upload}) { digest } }"""


def md5(data):
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def manifest_of(files, refs=()):
    contents = {name: {"digest": md5(data), "size": len(data)} for name, data in files.items()}
    contents |= {name: {"digest": url, "ref": url, "size": 0} for name, url in dict(refs).items()}
    head = {"version": 1, "storagePolicy": "wandb-storage-policy-v1"}
    return json.dumps({**head, "storagePolicyConfig": {}, "contents": contents}).encode()


def digest_of(files, refs=()):
    entries = {name: md5(data) for name, data in files.items()} | dict(refs)
    lines = "".join(f"{name}:{entries[name]}\n" for name in sorted(entries))
    return hashlib.md5(b"wandb-artifact-manifest-v1\n" + lines.encode()).hexdigest()


class Drafting:
    """One client's way to log artifacts of project alice/toy."""

    def __init__(self, client, stranger, entity="alice", project="toy"):
        self.client, self.stranger = client, stranger
        self.place = {"entityName": entity, "projectName": project}

    def create(self, name="data", digest="d", *, type="dataset", aliases=(), **more):
        """Create a draft; return the answer's artifact."""
        wanted = [{"artifactCollectionName": name, "alias": alias} for alias in aliases]
        fields = {"enableDigestDeduplication": True, "digestAlgorithm": "MANIFEST_MD5", **more}
        answer = self.client.data(
            CREATE,
            input={
                **self.place,
                "artifactTypeName": type,
                "artifactCollectionName": name,
                "digest": digest,
                "aliases": wanted,
                **fields,
            },
        )
        return answer["createArtifact"]["artifact"]

    def announce(self, artifact, files, parts=None):
        """Announce files; return what is to be sent, in their order."""
        specs = [
            {
                "artifactID": artifact,
                "name": name,
                "md5": md5(data),
                "uploadPartsInput": (parts or {}).get(name),
            }
            for name, data in files.items()
        ]
        answer = self.client.data(FILES, input={"artifactFiles": specs, "storageLayout": "V2"})
        return [edge["node"] for edge in answer["createArtifactFiles"]["files"]["edges"]]

    def put(self, url, data):
        return self.stranger.request("PUT", url, content=data)

    def send(self, artifact, files):
        """Announce files and send what is not there yet."""
        for node, data in zip(self.announce(artifact, files), files.values(), strict=True):
            if node["uploadUrl"] is not None:
                assert self.put(node["uploadUrl"], data).status_code == 200

    def manifest(self, artifact, data, *, type="FULL", base=None):
        """Add a manifest and send its bytes; return the answer to the bytes."""
        answer = self.client.data(
            MANIFEST, id=artifact, base=base, digest=md5(data), type=type, up=True
        )
        link = answer["createArtifactManifest"]["artifactManifest"]["file"]["uploadUrl"]
        return self.put(link, data)

    def commit(self, artifact):
        return self.client.data(COMMIT, id=artifact)["commitArtifact"]["artifact"]

    def log(self, files, name="data", refs=(), **more):
        """Log an artifact from its creation to its commit; return the committed version."""
        draft = self.create(name, digest_of(files, refs), **more)
        if draft["state"] == "COMMITTED":
            return draft
        self.send(draft["id"], files)
        assert self.manifest(draft["id"], manifest_of(files, refs)).status_code == 200
        return self.commit(draft["id"])
