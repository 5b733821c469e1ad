"""What Beam's runners must be told: a mistake is one line before anything starts; a dry run makes the real request."""

import pytest

pytest.importorskip("apache_beam")

import apache_beam as beam  # noqa: E402
from apache_beam.options.pipeline_options import PortableOptions  # noqa: E402
from apache_beam.portability.api import beam_job_api_pb2 as messages  # noqa: E402
from apache_beam.runners.portability.local_job_service import LocalJobServicer  # noqa: E402

from videopoet_jax.data.beam_runners import settings_of  # noqa: E402
from videopoet_jax.data.beam_shards import spread  # noqa: E402

POOL = ["--environment_type=EXTERNAL", "--environment_config=localhost:50000"]
FLINK, SPARK = ["--flink_master=host:8081", *POOL], ["--spark_master_url=spark://host:7077", *POOL]
CLOUD = ["--project=my-project", "--region=europe-west4", "--temp_location=gs://bucket/beam",
         "--sdk_container_image=registry/image:1"]  # fmt: skip


def told(runner, options):
    return spread(range(300), print, {}, settings_of(runner, options, dry_run=True))


@pytest.fixture(scope="module")
def job_server(tmp_path_factory):
    """Beam's own in Python, which has an option that Flink's has; no job is run on it."""

    class Server(LocalJobServicer):
        prepared = []

        def DescribePipelineOptions(self, request, context=None, timeout=None):
            flag = messages.PipelineOptionDescriptor(name="object_reuse", type=messages.PipelineOptionType.BOOLEAN)
            return messages.DescribePipelineOptionsResponse(options=[flag])

        def Prepare(self, request, context=None, timeout=None):
            self.prepared.append(request)
            return super().Prepare(request, context, timeout)

    server = Server(str(tmp_path_factory.mktemp("staging")))
    server.port = server.start_grpc_server(0)
    yield server
    server.stop()


@pytest.mark.parametrize(
    "runner, options, words",
    [
        ("FlinkRunner", ["--flink_mastr=h:1"], "--flink_mastr: no option .*; did you mean --flink_master"),
        ("FlinkRunner", ["records"], "records: no option of Apache Beam"),
        ("FlinkRunner", [*FLINK, "--parallelism=x"], "--parallelism: invalid int value: 'x'; see the options"),
        ("FlinkRunner", [*FLINK, "--object_reuse"], "--object_reuse: no option .* server's own need its --job_end"),
        ("FlinkRunner", FLINK[:1], "beam_python.*: has no videopoet_jax; name a pool of workers"),
        ("FlinkRunner", FLINK[:2], "FlinkRunner: Option external_service_address is required"),
        ("FlinkRunner", [FLINK[0], "--environment_type=KUBERNETES"], "Unknown environment type: KUBERNETES"),
        ("FlinkRunner", [*FLINK, "--job_server_java_launcher=nojava"], "nojava: not found, .* needs Java"),
        ("FlinkRunner", [*FLINK, "--flink_job_server_jar=no.jar"], "jar URL .*no.jar"),
        ("SparkRunner", FLINK, "--flink_master: an option of FlinkRunner, not of SparkRunner; leave it"),
        ("DataflowRunner", CLOUD[1:], "--project: missing; DataflowRunner needs the Google Cloud project"),
        ("DataflowRunner", CLOUD[:1], "--region: missing"),
        ("DataflowRunner", [*CLOUD[:2], "--temp_location=/tmp", CLOUD[3]], r"Invalid GCS path \(/tmp\)"),
        ("DataflowRunner", ["--project=123", *CLOUD[1:]], r"Invalid Project ID \(123\)"),
    ],
)
@pytest.mark.parametrize("dry_run", [True, False])
def test_mistakes_are_one_line(runner, options, words, dry_run):
    with pytest.raises(ValueError, match=words) as error:
        settings_of(runner, options, dry_run=dry_run)
    assert "\n" not in str(error.value)


def test_a_job_server_that_does_not_answer_is_told_of(monkeypatch):
    monkeypatch.setattr("videopoet_jax.data.beam_runners.ANSWER_SECONDS", 0.2)
    with pytest.raises(ValueError, match="--job_endpoint=localhost:9: no job server answers within 0.2 s; start it"):
        settings_of("FlinkRunner", ["--job_endpoint=localhost:9", *POOL])


@pytest.mark.parametrize(
    "runner, options, server", [("FlinkRunner", FLINK, "beam-runners-flink-"), ("SparkRunner", SPARK, "-spark-3-")]
)
def test_a_dry_run_makes_the_request_for_a_job_server(runner, options, server):
    said = told(runner, options)
    assert said.startswith(f"{runner}: a job of ") and "workers EXTERNAL localhost:50000" in said
    assert f"{server}" in said and f"job-server-{beam.__version__}.jar" in said  # the file that Beam would start


@pytest.mark.parametrize("runner", ["FlinkRunner", "SparkRunner"])
def test_a_job_server_prepares_the_job_with_options_of_its_own_and_does_not_run_it(runner, job_server):
    job_server.prepared.clear()
    endpoint = f"--job_endpoint=localhost:{job_server.port}"
    assert f"prepared by the job server at localhost:{job_server.port}" in told(
        runner, [endpoint, "--object_reuse", *POOL]
    )
    (request,) = job_server.prepared
    (workers,) = request.pipeline.components.environments.values()
    assert workers.urn == "beam:env:external:v1" and b"localhost:50000" in workers.payload
    assert any("Work" in step.unique_name for step in request.pipeline.components.transforms.values())
    assert [job.get_state()[0] for job in job_server._jobs.values()][-1] == messages.JobState.STOPPED
    with pytest.raises(ValueError, match="--object_resue: no option"):
        settings_of(runner, [endpoint, "--object_resue", *POOL])


def test_a_local_flink_works_in_this_process_without_being_told():
    settings = settings_of("FlinkRunner", ["--flink_master=[local]"])
    assert settings.view_as(PortableOptions).environment_type == "LOOPBACK"


def test_on_dask_every_shard_can_go_to_another_worker():
    pytest.importorskip("distributed")
    assert told("DaskRunner", []).endswith("in 300 partitions")
    assert told("DaskRunner", ["--dask_partition_size=100"]).endswith("in 3 partitions")


def test_a_dataflow_job_is_written_without_credentials_or_is_told_how():
    try:
        import google.cloud.dataflow  # noqa: F401
    except ImportError:
        with pytest.raises(ValueError, match=r"DataflowRunner: not installed; pip install 'videopoet_jax\[dataflow\]'"):
            told("DataflowRunner", CLOUD)
        return
    said = told("DataflowRunner", [*CLOUD, "--max_num_workers=4", "--machine_type=n2-standard-8"])
    assert said.endswith(
        "JOB_TYPE_BATCH in my-project, europe-west4; 4 of n2-standard-8 with registry/image:1"
    ) and said.startswith("DataflowRunner: a job of ")
