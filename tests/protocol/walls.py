"""What one team owns, by every name and id of it, and every way to ask for it."""

import base64
import hashlib
import json
from string import Template

from drafting import Drafting, digest_of, manifest_of

from sweepd.engine import accounts, teams
from sweepd.engine.views import Role

KEYS = {name: name + "-" + (name[0] * 44) for name in ("ann", "vic", "mal", "bea")}
PLAIN = "method: random\\nparameters: {lr: {min: 0.0, max: 1.0}}"
ARTIFACT = "$entity/$project/data:v0"

#: What asks for, or changes, things of a team: `Type.field` -> ways to send it. A `$name` stands
#: for a value of the world's `ids`. All succeed for who may, in the order given here.
CASES = {
    "Query.viewer": ["viewer { id apiKeys { edges { node { name } } } }"],
    "Query.serverInfo": ["serverInfo { features { name } }"],
    "Query.project": [
        'project(name: "$project", entityName: "$entity") { id runs { edges { node { id } } } }',
        'project(name: "$entity/$project") { id }',
        'project(name: "../$entity/$project") { id }',
    ],
    "Query.model": ['model(name: "$project", entityName: "$entity") { id runCount }'],
    "Query.models": ['models(entityName: "$entity") { edges { node { name } } }'],
    "Query.entity": [
        'entity(name: "$entity") { id isTeam members { name } project(name: "$project") { id } }',
        'entity(name: "./$entity") { id }',
        'entity(name: "$member") { id user { email } }',
    ],
    "Query.users": ['users(query: "$member") { edges { node { name email } } }'],
    "Query.organization": ['organization(name: "$entity") { id }'],
    "Query.artifact": ['artifact(id: "$artifact_id") { id files { edges { node { url } } } }'],
    "Query.artifactCollection": [
        'artifactCollection(id: "$sequence_id") { name }',
        'artifactCollection(id: "$portfolio_id") { name }',
    ],
    "Query.clientIDMapping": ['clientIDMapping(clientID: "$client_id") { serverID }'],
    "Query.sweepdSweep": ['sweepdSweep(name: "$sweep") { id config }'],
    "Query.sweepdSweeps": [
        'sweepdSweeps(entityName: "$entity") { edges { node { name } } }',
        'sweepdSweeps(entityName: "$entity", projectName: "$project") { totalCount }',
    ],
    "Query.sweepdBundle": ['sweepdBundle(id: "$bundle_id") { until trials { runName } }'],
    "Mutation.sweepdFillBundle": [
        f'sweepdFillBundle(input: {{id: "$sweep_id", key: "{"b" * 16}", n: 1, seconds: 60}})'
        " { commands }"
    ],
    "Mutation.sweepdGiveBackBundle": [
        'sweepdGiveBackBundle(input: {id: "$bundle_id"}) { bundle { out } }'
    ],
    "Mutation.upsertBucket": [
        'upsertBucket(input: {id: "$run_id", notes: "mine"}) { bucket { id config } }',
        'upsertBucket(input: {name: "$run", modelName: "$project", entityName: "$entity",'
        ' notes: "mine"}) { bucket { id config } }',
        'upsertBucket(input: {name: "fresh", modelName: "$project", entityName: "$entity"})'
        " { bucket { id } }",
        'upsertBucket(input: {name: "joined", sweep: "$sweep", host: "h"}) { bucket { id } }',
        'upsertBucket(input: {name: "$trial", sweep: "$sweep", host: "h"}) { bucket { id } }',
    ],
    "Mutation.rewindRun": [
        'rewindRun(input: {runName: "$run", entityName: "$entity", projectName: "$project",'
        ' metricName: "_step", metricValue: 0}) { rewoundRun { id config } }'
    ],
    "Mutation.stopRun": ['stopRun(input: {id: "$run_id"}) { success }'],
    "Mutation.createRunFiles": [
        'createRunFiles(input: {entityName: "$entity", projectName: "$project",'
        ' runName: "$run", files: ["net.onnx"]}) { files { uploadUrl } }'
    ],
    "Mutation.markRunFilesUploaded": [
        'markRunFilesUploaded(input: {entityName: "$entity", projectName: "$project",'
        ' runName: "$run", files: ["net.onnx"]}) { success }'
    ],
    "Mutation.notifyScriptableRunAlert": [
        'notifyScriptableRunAlert(input: {entityName: "$entity", projectName: "$project",'
        ' runName: "$run", title: "t", text: "x"}) { success }'
    ],
    "Mutation.upsertModel": [
        'upsertModel(input: {id: "$project_id", description: "mine"}) { project { id } }',
        'upsertModel(input: {name: "$project", entityName: "$entity", access: "USER_READ"})'
        " { project { id } }",
        'upsertModel(input: {name: "$project", entityName: "$entity", access: "PRIVATE"})'
        " { project { id } }",
    ],
    "Mutation.createCustomChart": [
        'createCustomChart(input: {entity: "$entity", name: "mine", displayName: "m",'
        ' type: "vega2", access: "PRIVATE", spec: "{}"}) { chart { id } }'
    ],
    "Mutation.upsertSweep": [
        f'upsertSweep(input: {{config: "{PLAIN}", entityName: "$entity", projectName: "$project"}})'
        " { sweep { id } }",
        'upsertSweep(input: {id: "$sweep_id", state: "PAUSED"}) { sweep { id } }',
        'upsertSweep(input: {id: "$sweep_id", state: "RUNNING"}) { sweep { id } }',
    ],
    "Mutation.enqueueSweepRun": [
        'enqueueSweepRun(input: {id: "$scheduled_id", config: "{}"}) { __typename }'
    ],
    "Mutation.sweepdEdit": [
        'sweepdEdit(input: {id: "$scheduled_id", config: "method: random\\nparameters:'
        ' {lr: {min: 0.0, max: 9.0}}", version: 1}) { version }'
    ],
    "Mutation.sweepdEnqueue": [
        'sweepdEnqueue(input: {id: "$scheduled_id", configs: "{\\"lr\\": 0.5}"}) { runs }'
    ],
    "Mutation.createAgent": [
        'createAgent(input: {host: "h", sweep: "$sweep"}) { agent { id } }',
        'createAgent(input: {host: "h", sweep: "$sweep", projectName: "$project",'
        ' entityName: "$entity"}) { agent { id } }',
    ],
    "Mutation.agentHeartbeat": [
        'agentHeartbeat(input: {id: "$agent_id", runState: "{}"}) { commands agent { name } }'
    ],
    "Mutation.sweepdReportOutcome": [
        'sweepdReportOutcome(input: {entityName: "$entity", projectName: "$project",'
        ' runName: "$trial", attempt: 1, token: "$token", reason: "error"}) { success }'
    ],
    "Mutation.createUser": ['createUser(input: {email: "$member@example.org"}) { user { id } }'],
    "Mutation.createTeam": ['createTeam(input: {teamName: "$entity"}) { entity { id } }'],
    "Mutation.createInvite": [
        'createInvite(input: {entityName: "$entity", username: "mal"}) { invite { id } }',
        'createInvite(input: {entityName: "$entity", email: "alice@localhost"}) { invite { id } }',
    ],
    "Mutation.createServiceAccount": [
        'createServiceAccount(input: {entityName: "$entity", description: "x"}) { user { id } }'
    ],
    "Mutation.createArtifact": [
        'createArtifact(input: {entityName: "$entity", projectName: "$project", runName: "$run",'
        ' artifactTypeName: "dataset", artifactCollectionName: "data", digest: "x",'
        ' digestAlgorithm: MANIFEST_MD5, clientID: "c9"}) { artifact { id } }',
        'createArtifact(input: {entityName: "$entity", projectName: "$project",'
        ' artifactTypeName: "dataset", artifactCollectionName: "data", digest: "$digest",'
        " digestAlgorithm: MANIFEST_MD5, enableDigestDeduplication: true}) { artifact { id } }",
    ],
    "Mutation.createArtifactManifest": [
        'createArtifactManifest(input: {artifactID: "$draft_id", name: "wandb_manifest.json",'
        ' digest: "x", entityName: "$entity", projectName: "$project", runName: "$run"})'
        " { artifactManifest { id file { uploadUrl } } }"
    ],
    "Mutation.updateArtifactManifest": [
        'updateArtifactManifest(input: {artifactManifestID: "$manifest_id", digest: "y"})'
        " { artifactManifest { id file { uploadUrl } } }"
    ],
    "Mutation.createArtifactFiles": [
        'createArtifactFiles(input: {storageLayout: V2, artifactFiles: [{artifactID: "$draft_id",'
        ' md5: "kP0Vn1ZFw4n6e4nwc5v1Uw==", name: "b"}]}) { files { edges { node { uploadUrl } } } }'
    ],
    "Mutation.completeMultipartUploadArtifact": [
        "completeMultipartUploadArtifact(input: {completeMultipartAction: Complete,"
        ' completedParts: [{partNumber: 1, hexMD5: "$part"}], artifactID: "$draft_id",'
        ' storagePath: "$path", uploadID: "$upload_id"}) { digest }'
    ],
    "Mutation.commitArtifact": [
        'commitArtifact(input: {artifactID: "$ready_id"}) { artifact { id } }'
    ],
    "Mutation.useArtifact": [
        'useArtifact(input: {entityName: "$entity", projectName: "$project", runName: "$run",'
        ' artifactID: "$artifact_id"}) { artifact { id } }',
    ],
    "Mutation.updateArtifact": [
        'updateArtifact(input: {artifactID: "$artifact_id", description: "mine"})'
        " { artifact { id } }"
    ],
    "Mutation.linkArtifact": [
        'linkArtifact(input: {artifactID: "$artifact_id", artifactPortfolioName: "shelf",'
        ' entityName: "$entity", projectName: "$project", aliases: []}) { versionIndex }',
        'linkArtifact(input: {clientID: "$client_id", artifactPortfolioName: "shelf",'
        ' entityName: "$entity", projectName: "$project", aliases: []}) { versionIndex }',
    ],
    "Mutation.addAliases": [
        'addAliases(input: {artifactID: "$artifact_id", aliases: [{alias: "mine",'
        ' artifactCollectionName: "data", entityName: "$entity", projectName: "$project"}]})'
        " { success }"
    ],
    "Mutation.deleteAliases": [
        'deleteAliases(input: {artifactID: "$artifact_id", aliases: [{alias: "mine",'
        ' artifactCollectionName: "data", entityName: "$entity", projectName: "$project"}]})'
        " { success }"
    ],
    "Mutation.createArtifactCollectionTagAssignments": [
        'createArtifactCollectionTagAssignments(input: {entityName: "$entity", projectName:'
        ' "$project", artifactCollectionName: "data", tags: [{tagName: "t"}]}) { __typename }'
    ],
    "Mutation.deleteArtifactCollectionTagAssignments": [
        'deleteArtifactCollectionTagAssignments(input: {entityName: "$entity", projectName:'
        ' "$project", artifactCollectionName: "data", tags: [{tagName: "t"}]}) { success }'
    ],
    "Mutation.updateArtifactSequence": [
        'updateArtifactSequence(input: {artifactSequenceID: "$sequence_id", description: "m"})'
        " { artifactCollection { id } }"
    ],
    "Mutation.updateArtifactPortfolio": [
        'updateArtifactPortfolio(input: {artifactPortfolioID: "$portfolio_id", description: "m"})'
        " { artifactCollection { id } }"
    ],
    "Mutation.moveArtifactSequence": [
        'moveArtifactSequence(input: {artifactSequenceID: "$sequence_id",'
        ' destinationArtifactTypeName: "model"}) { artifactCollection { id } }'
    ],
    "Mutation.unlinkArtifact": [
        'unlinkArtifact(input: {artifactID: "$artifact_id", artifactPortfolioID: "$portfolio_id"})'
        " { success }"
    ],
    "Mutation.deleteArtifact": [
        'deleteArtifact(input: {artifactID: "$artifact_id", deleteAliases: true})'
        " { artifact { id } }"
    ],
    "Mutation.deleteArtifactSequence": [
        'deleteArtifactSequence(input: {artifactSequenceID: "$sequence_id"})'
        " { artifactCollection { id } }"
    ],
    "Mutation.deleteArtifactPortfolio": [
        'deleteArtifactPortfolio(input: {artifactPortfolioID: "$portfolio_id"})'
        " { artifactCollection { id } }"
    ],
    "Mutation.deleteFiles": ['deleteFiles(input: {files: ["$file_id"]}) { success }'],
    "Mutation.sweepdFinishRun": ['sweepdFinishRun(input: {id: "$run_id"}) { run { id config } }'],
    "Mutation.updateRunState": [
        'updateRunState(input: {id: "$pending_id", state: "failed"}) { success }'
    ],
    "Mutation.sweepdRetry": [
        'sweepdRetry(input: {sweepId: "$sweep_id"}) { runs }',
        'sweepdRetry(input: {runId: "$trial_id"}) { sweep { name } }',
    ],
    "Mutation.deleteRun": [
        'deleteRun(input: {id: "$run_id"}) { clientMutationId }',
        'deleteRun(input: {id: "$run_id", deleteArtifacts: true}) { clientMutationId }',
    ],
    "Mutation.sweepdLeaveAgent": ['sweepdLeaveAgent(input: {id: "$agent_id"}) { success }'],
    "Mutation.sweepdReleaseSlot": [
        'sweepdReleaseSlot(input: {id: "$agent_id"}) { agent { quarantineReason } }'
    ],
    "Mutation.sweepdQuarantineSlot": [
        'sweepdQuarantineSlot(input: {id: "$agent_id", reason: "ECC"}) { agent { device } }'
    ],
    "Mutation.sweepdDeleteSweep": ['sweepdDeleteSweep(input: {id: "$sweep_id"}) { success }'],
    "Mutation.deleteModel": ['deleteModel(input: {id: "$project_id"}) { success }'],
    "Mutation.deleteApiKey": ['deleteApiKey(input: {id: "$key_id"}) { success }'],
    "Mutation.deleteInvite": [
        'deleteInvite(input: {id: "$member_id", entityName: "$entity"}) { success }'
    ],
    "Mutation.generateApiKey": ['generateApiKey(input: {description: "x"}) { apiKey { id } }'],
    "Mutation.sweepdCreateLoginLink": ["sweepdCreateLoginLink { url }"],
}

_OWN = 'project(name: "own", entityName: "blue")'
#: Fields of types below the roots that take a name or an id, asked on the stranger's own things
#: with the names of the others'.
NESTED = {
    "Entity.project": ['entity(name: "blue") { project(name: "$project") { id } }'],
    "Project.run": [f'{_OWN} {{ run(name: "$run") {{ id }} }}'],
    "Project.bucket": [f'{_OWN} {{ bucket(name: "$run") {{ id }} }}'],
    "Project.sweep": [f'{_OWN} {{ sweep(sweepName: "$sweep") {{ id }} }}'],
    "Project.artifactType": [f'{_OWN} {{ artifactType(name: "dataset-$project") {{ id }} }}'],
    "ArtifactType.artifactCollection": [
        f'{_OWN} {{ artifactType(name: "dataset") {{ artifactCollection(name: "data") {{ id }}'
        " } }"
    ],
    "Project.artifactCollection": [
        f'{_OWN} {{ artifactCollection(name: "$entity/$project/data") {{ id }} }}'
    ],
    "Project.artifactCollectionMembership": [
        f'{_OWN} {{ artifactCollectionMembership(name: "{ARTIFACT}") {{ id }} }}'
    ],
    "Project.artifact": [
        f'{_OWN} {{ artifact(name: "{ARTIFACT}") {{ id }} }}',
        f'{_OWN} {{ artifact(name: "data:$digest") {{ id }} }}',
    ],
    "Project.runs": [
        f'{_OWN} {{ runs(filters: "{{\\"sweep\\": \\"$sweep\\"}}") {{ totalCount }} }}',
        f'{_OWN} {{ runs(filters: "{{\\"name\\": \\"$run\\"}}") {{ totalCount }} }}',
    ],
    "Sweep.agent": [
        f'{_OWN} {{ sweeps {{ edges {{ node {{ agent(agentName: "$agent_id") {{ id }}'
        " } } } } }"
    ],
    "File.url": [],
}
#: Arguments that page through, narrow or shape what a parent has, and name nothing beyond it.
HARMLESS = frozenset(
    {"after", "before", "first", "last", "order", "filters", "samples", "minStep", "maxStep"}
    | {"specs", "liveKeys", "keys", "names", "pattern", "includeAll", "desc", "missingOk"}
    | {"useImprovedPagination", "upload", "storageLayout", "manifestVersion", "entries"}
    | {"storageRegion", "aliasName", "config", "metric", "goal"}
)

MAKE_MANIFEST = """mutation($id: ID!) { createArtifactManifest(input: {artifactID: $id, name:
  "wandb_manifest.json", digest: "x", entityName: "red", projectName: "toy", runName: "r1"})
  { artifactManifest { id } } }"""
LINK = """mutation($id: ID!) { linkArtifact(input: {artifactID: $id, artifactPortfolioName: "shelf",
  entityName: "red", projectName: "toy", aliases: []}) { versionIndex } }"""
COLLECTIONS = """{ project(name: "toy", entityName: "red") {
  one: artifactCollection(name: "data") { id } two: artifactCollection(name: "shelf") { id } } }"""


def wire_id(kind, value):
    return base64.b64encode(f"{kind}:{value}".encode()).decode()


def read_number(text):
    return base64.b64decode(text).decode().partition(":")[2]


class World:
    """Team `red` with one of everything, and team `blue` of a stranger; their clients."""

    def __init__(self, service):
        self.service = service
        store = service.store
        root = store.read_sync(accounts.account_by_name, name="alice")
        self.people = {}
        for name, key in KEYS.items():
            self.people[name], _ = store.write_sync(accounts.add_user, name=name, key=key)
        store.write_sync(teams.create_team, actor=root, name="red", admin="ann")
        store.write_sync(teams.create_team, actor=root, name="blue", admin="mal")
        store.write_sync(teams.set_role, actor=root, team="red", user="vic", role=Role.VIEWER)
        store.write_sync(teams.set_role, actor=root, team="red", user="bea", role=Role.MEMBER)
        self.ann, self.vic, self.mal, self.bea = (service.client(key) for key in KEYS.values())
        self.ids = self._make(root)
        self.mal.data(
            'mutation { upsertModel(input: {name: "own", entityName: "blue"}) { inserted } }'
        )

    def send(self, client, field, way, ids):
        """Send one way of a case; return the status and the answer's text."""
        kind = "mutation" if field.startswith("Mutation") else "query"
        answer = client.execute(f"{kind} {{ {Template(way).substitute(ids)} }}")
        return answer.status_code, answer.text

    def ghost(self):
        """Return ids and names of the same kinds that nothing has, and what each stands for."""
        ghosts = {name: f"ghost{name.replace('_', '')}" for name in self.ids}
        for number, (name, real) in enumerate(self.ids.items(), start=90_000_001):
            if name.endswith("_id") and name != "client_id":
                kind, _, value = base64.b64decode(real).decode().partition(":")
                made = str(number) if value.isdigit() else f"ghost{name}"
                ghosts[name] = wire_id(kind, made)
        return ghosts

    def as_real(self, text, ghosts):
        """Return an answer about ghosts with the real names and ids in their place."""
        for name in sorted(ghosts, key=lambda name: -len(ghosts[name])):
            ghost, real = ghosts[name], self.ids[name]
            text = text.replace(ghost, real)
            if name.endswith("_id") and name != "client_id":
                text = text.replace(read_number(ghost), read_number(real))
        return text

    def _make(self, root):
        ann, ids = self.ann, {"entity": "red", "project": "toy", "run": "r1", "member": "ann"}
        write = lambda text, **values: ann.data("mutation { " + text + " }", **values)  # noqa: E731
        bucket = (
            'upsertBucket(input: {name: "%s", entityName: "red", modelName: "toy"%s})'
            " { bucket { id project { id } } }"
        )
        run = write(bucket % ("r1", ', host: "box"'))["upsertBucket"]["bucket"]
        ids |= {"run_id": run["id"], "project_id": run["project"]["id"]}
        write(
            'createCustomChart(input: {entity: "red", name: "data", displayName: "c",'
            ' type: "vega2", access: "PRIVATE", spec: "{}"}) { chart { id } }'
        )
        ids["pending_id"] = write(bucket % ("r2", ""))["upsertBucket"]["bucket"]["id"]
        row = json.dumps({"_step": 0, "loss": 0.5})
        body = {"files": {"wandb-history.jsonl": {"offset": 0, "content": [row]}}}
        assert ann.request("POST", "/files/red/toy/r1/file_stream", json=body).status_code == 200
        ids |= self._file() | self._sweep(write) | self._artifacts()
        another = write('generateApiKey(input: {description: "another"}) { apiKey { id } }')
        ids["key_id"] = another["generateApiKey"]["apiKey"]["id"]
        ids["member_id"] = wire_id("Member", self.people["bea"].id)
        return ids

    def _file(self):
        links = self.ann.data(
            'mutation { createRunFiles(input: {entityName: "red", projectName: "toy",'
            ' runName: "r1", files: ["net.onnx"]}) { files { uploadUrl } } }'
        )
        url = links["createRunFiles"]["files"][0]["uploadUrl"]
        assert self.ann.request("PUT", url, content=b"secret").status_code == 200
        found = self.ann.data(
            '{ project(name: "toy", entityName: "red") { run(name: "r1") { files { edges { node'
            " { id url } } } } } }"
        )
        node = found["project"]["run"]["files"]["edges"][0]["node"]
        self.link = node["url"]
        return {"file_id": node["id"]}

    def _sweep(self, write):
        make = (
            f'upsertSweep(input: {{config: "{PLAIN}", entityName: "red", projectName: "toy"%s}})'
            " { sweep { id name } }"
        )
        sweep = write(make % "")["upsertSweep"]["sweep"]
        held = write(make % ', scheduler: "{}"')["upsertSweep"]["sweep"]
        join = f'createAgent(input: {{host: "h", sweep: "{sweep["name"]}"}}) {{ agent {{ id }} }}'
        agent = write(join)["createAgent"]["agent"]["id"]
        beat = f'agentHeartbeat(input: {{id: "{agent}", runState: "{{}}"}}) {{ commands }}'
        (command,) = json.loads(write(beat)["agentHeartbeat"]["commands"])
        fill = (
            f'sweepdFillBundle(input: {{id: "{sweep["id"]}", key: "{"a" * 16}", n: 2,'
            " seconds: 3600}) { bundle { id } }"
        )
        bundle = write(fill)["sweepdFillBundle"]["bundle"]["id"]
        named = f'run(name: "{command["run_id"]}") {{ id }}'
        found = self.ann.data(f'{{ project(name: "toy", entityName: "red") {{ {named} }} }}')
        return {
            "trial_id": found["project"]["run"]["id"],
            "sweep": sweep["name"],
            "sweep_id": sweep["id"],
            "scheduled_id": held["id"],
            "agent_id": agent,
            "bundle_id": bundle,
            "trial": command["run_id"],
            "token": command["sweepd"]["token"],
        }

    def _artifacts(self):
        drafting = Drafting(self.ann, self.service.client(key=None), entity="red")
        files = {"net.onnx": b"secret"}
        version = drafting.log(files, clientID="client-of-red")
        drafting.log({"a.bin": b"of the run"}, "made", runName="r1")
        draft = drafting.create("draft", "d2")["id"]
        ready = drafting.create("ready", "d3")["id"]
        drafting.manifest(ready, manifest_of({}))
        made = self.ann.data(MAKE_MANIFEST, id=draft)["createArtifactManifest"]
        linked = self.ann.data(LINK, id=version["id"])
        assert linked["linkArtifact"]["versionIndex"] is not None
        found = self.ann.data(COLLECTIONS)["project"]
        whole = b"in one part"
        part = hashlib.md5(whole).hexdigest()
        parts = {"big": [{"partNumber": 1, "hexMD5": part}]}
        (sent,) = drafting.announce(draft, {"big": whole}, parts=parts)
        upload = sent["uploadMultipartUrls"]
        assert drafting.put(upload["uploadUrlParts"][0]["uploadUrl"], whole).status_code == 200
        return {
            "artifact_id": version["id"],
            "draft_id": draft,
            "ready_id": ready,
            "manifest_id": made["artifactManifest"]["id"],
            "sequence_id": found["one"]["id"],
            "portfolio_id": found["two"]["id"],
            "client_id": "client-of-red",
            "upload_id": upload["uploadID"],
            "path": sent["storagePath"],
            "part": part,
            "digest": digest_of(files),
        }
