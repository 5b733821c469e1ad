"""What Apache Beam's runners must be told, looked at before anything starts; and what each would be sent.

    settings_of("DataflowRunner", ["--region=europe-west4"])  --project: missing; DataflowRunner needs …
    settings_of("FlinkRunner", ["--flink_mater=host:8081"])   --flink_mater: no option of Apache Beam 2.77.0; …
    told(pipeline)                                            FlinkRunner: a job of 7 steps, 9,123 bytes; …

Beam passes over an option that it does not know; here it is an error. Importing this needs the extra `beam`.
"""

import difflib
import json
import re
import shutil
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    GoogleCloudOptions,
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    SparkRunnerOptions,
    StandardOptions,
    TestOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.portability.api import beam_job_api_pb2 as messages
from apache_beam.portability.api import beam_job_api_pb2_grpc
from apache_beam.runners.portability.flink_runner import FlinkJarJobServer
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.portability.spark_runner import SparkJarJobServer
from apache_beam.runners.runner import create_runner
from apache_beam.transforms.environments import DockerEnvironment, is_apache_beam_container

WHOLE_NAMES = {"DaskRunner": "apache_beam.runners.dask.dask_runner.DaskRunner"}  # Beam has no short one for it
EXTRAS = {"DaskRunner": "dask", "DataflowRunner": "dataflow"}  # others do with `beam`
OWN = {"FlinkRunner": FlinkRunnerOptions, "SparkRunner": SparkRunnerOptions}
JARS = {"FlinkRunner": FlinkJarJobServer, "SparkRunner": SparkJarJobServer}
NEEDS = {
    "DataflowRunner": {
        "project": "the Google Cloud project that pays",
        "region": "the place of its workers, such as europe-west4",
        "temp_location": "a folder for Beam's own files, gs://BUCKET/FOLDER",
        "sdk_container_image": "an image with videopoet_jax, of launch/prepare/Dockerfile",
    }
}
PARTITIONS = ("--dask_partition_size", "--dask_npartitions")
ANSWER_SECONDS = 20  # of a job server; Beam itself waits for five minutes


def settings_of(runner: str, options: Sequence[str], *, dry_run: bool = False) -> PipelineOptions:
    """The options as Beam's, checked as far as this machine can.

    Args:
        runner: a name that Beam knows.
        options: of Beam's and of the runner's, as on a command line.
        dry_run: `told` will be asked, and nothing shall run.

    Raises:
        ValueError: an option is unknown, of no use to this runner, missing or wrong, or a package is.
    """
    try:
        made = create_runner(WHOLE_NAMES.get(runner, runner))
    except ImportError as error:
        raise ValueError(_not_installed(runner)) from error
    _check_names(options)
    if runner == "DaskRunner" and not any(option.startswith(PARTITIONS) for option in options):
        options = [*options, f"{PARTITIONS[0]}=1"]  # by default 128 shards would be one worker's
    settings = PipelineOptions([f"--runner={WHOLE_NAMES.get(runner, runner)}", *options])
    setup = settings.view_as(SetupOptions)
    setup.save_main_session = False
    if setup.sdk_location == "default":
        setup.sdk_location = "container"  # a worker has what it needs, Beam too
    for other, its in OWN.items():
        given = settings.view_as(its).get_all_options(drop_default=True, current_only=True)
        if given and other != runner:
            raise ValueError(f"--{next(iter(given))}: an option of {other}, not of {runner}; leave it.")
    for name, what in NEEDS.get(runner, {}).items():
        if settings.get_all_options()[name] is None:
            raise ValueError(f"--{name}: missing; {runner} needs {what}: --{name}=….")
    validator = PipelineOptionsValidator(settings, made)
    cloud, errors = settings.view_as(GoogleCloudOptions), []
    for name in ("temp_location", "staging_location"):  # first: where one is wrong, Beam makes a bucket
        if runner == "DataflowRunner" and getattr(cloud, name) is not None:
            errors += validator.validate_gcs_path(cloud, name)
    settings.view_as(TestOptions).dry_run = True  # the bucket is not looked at now
    errors = errors or validator.validate()
    if errors:
        raise ValueError(f"{runner}: {errors[0].rstrip('.')}; launch/prepare.sh shows what it needs.")
    settings.view_as(TestOptions).dry_run = dry_run
    if isinstance(made, PortableRunner):
        _check_workers(runner, made, settings)
    if runner == "DataflowRunner":
        try:
            import apache_beam.runners.dataflow.internal.apiclient  # noqa: F401
        except ImportError as error:
            raise ValueError(_not_installed(runner)) from error
    return settings


def _not_installed(runner: str) -> str:
    return f"{runner}: not installed; pip install 'videopoet_jax[{EXTRAS.get(runner, 'beam')}]'."


def _check_names(options: Sequence[str]) -> None:
    """Every option is Beam's, or the job server's that is named, and its value can be one."""
    found: list[Any] = []

    def refuse(message: str) -> NoReturn:
        raise ValueError(f"{message.removeprefix('argument ')}; see the options of Apache Beam {beam.__version__}.")

    def parse(parser: Any) -> None:
        parser.error = refuse
        found.extend([re.findall(r"--[\w-]+", parser.format_usage()), parser.parse_known_args(list(options))[1]])

    PipelineOptions(list(options)).get_all_options(add_extra_args_fn=parse, retain_unknown_options=True)
    names, unknown = found
    endpoint = PipelineOptions(list(options)).view_as(PortableOptions).job_endpoint
    if endpoint:
        request = messages.DescribePipelineOptionsRequest()
        described = _server(endpoint).DescribePipelineOptions(request, timeout=ANSWER_SECONDS).options
        unknown = _without(unknown, {option.name for option in described})
    if unknown:
        name = unknown[0].split("=")[0]
        near = difflib.get_close_matches(name, names, n=1)
        meant = f"did you mean {near[0]}?" if near else "leave it."
        raise ValueError(
            f"{name}: no option of Apache Beam {beam.__version__}; {meant} A job server's own need its --job_endpoint."
        )


def _without(unknown: Sequence[str], described: Collection[str]) -> list[str]:
    """`--a 1 --b=2 c`, where a is described → `--b=2 c`"""
    left, known = [], False
    for word in unknown:
        if word.startswith("--"):
            known = word[2:].split("=")[0] in described
        if not known:
            left.append(word)
    return left


def _server(endpoint: str) -> beam_job_api_pb2_grpc.JobServiceStub:
    channel = grpc.insecure_channel(endpoint)
    try:
        grpc.channel_ready_future(channel).result(timeout=ANSWER_SECONDS)
    except grpc.FutureTimeoutError as error:
        raise ValueError(
            f"--job_endpoint={endpoint}: no job server answers within {ANSWER_SECONDS} s; start it, or name another."
        ) from error
    return beam_job_api_pb2_grpc.JobServiceStub(channel)


def _check_workers(runner: str, made: PortableRunner, settings: PipelineOptions) -> None:
    """Workers have videopoet_jax, and there is Java for a job server that is not there yet."""
    try:
        workers = made.default_environment(settings)
    except ValueError as error:
        raise ValueError(f"--environment_type, --environment_config: {error}; see launch/prepare.sh.") from error
    if isinstance(workers, DockerEnvironment) and is_apache_beam_container(workers.container_image):
        raise ValueError(
            f"{workers.container_image}: has no videopoet_jax; name a pool of workers (--environment_type=EXTERNAL "
            "--environment_config=HOST:50000) or an image (launch/prepare/Dockerfile has both)."
        )
    java = settings.view_as(JobServerOptions).job_server_java_launcher
    if not settings.view_as(PortableOptions).job_endpoint:
        JARS[runner](settings).path_to_jar()  # a file that is named is there
        if shutil.which(java) is None:
            raise ValueError(f"{java}: not found, Beam's job server needs Java; install it, or name a --job_endpoint.")


class _Kept:
    """A job service that keeps what it is asked for."""

    request: messages.PrepareJobRequest

    def DescribePipelineOptions(self, request: Any, timeout: int) -> Any:
        return messages.DescribePipelineOptionsResponse()

    def Prepare(self, request: messages.PrepareJobRequest, timeout: int) -> Any:
        self.request = request
        return messages.PrepareJobResponse()


def told(pipeline: beam.Pipeline) -> str:
    """Makes what the runner would be sent, by Beam's own code, and says what it is. Nothing runs.

    A job server that is named is asked to prepare the job, which it keeps until it ends. A Dataflow job is written as
    the template that Beam makes of it; neither credentials nor a network are needed.
    """
    runner = pipeline.options.view_as(StandardOptions).runner.rpartition(".")[2]
    if isinstance(pipeline.runner, PortableRunner):
        return f"{runner}: {_portable(runner, pipeline)}"
    if runner == "DataflowRunner":
        return f"{runner}: {_dataflow(pipeline)}"
    size = _size(pipeline.to_runner_api())
    return f"{runner}: {size}" + (f" in {_partitions(pipeline)} partitions" if runner == "DaskRunner" else "")


def _partitions(pipeline: beam.Pipeline) -> int:
    """Of the graph that Dask would compute: as many workers can share the work."""
    from apache_beam.runners.dask.dask_runner import DaskOptions
    from apache_beam.runners.dask.overrides import dask_overrides

    given = pipeline.options.view_as(DaskOptions).get_all_options(drop_default=True, current_only=True)
    sizes = {name: given[name] for name in ("npartitions", "partition_size") if name in given}
    pipeline.replace_all(dask_overrides())
    visitor = pipeline.runner.to_dask_bag_visitor(sizes)
    pipeline.visit(visitor)
    return list(visitor.bags.values())[-1].npartitions


def _size(proto: Any) -> str:
    steps = sum(not transform.subtransforms for transform in proto.components.transforms.values())
    return f"a job of {steps} steps, {proto.ByteSize():,} bytes"


def _portable(runner: str, pipeline: beam.Pipeline) -> str:
    options, kept = pipeline.options, _Kept()
    options.view_as(StandardOptions).runner = None  # as Beam does: what runs it is the server's affair
    proto = pipeline.runner.get_proto_pipeline(pipeline, options)
    pipeline.runner.create_job_service_handle(kept, options).prepare(proto)
    portable = options.view_as(PortableOptions)
    where = portable.environment_config or ", ".join(portable.environment_options or [])
    if portable.job_endpoint:
        _server(portable.job_endpoint).Prepare(kept.request, timeout=ANSWER_SECONDS)
        server = f"prepared by the job server at {portable.job_endpoint}"
    else:
        server = f"for a job server of {JARS[runner](options).path_to_jar()}"
    return f"{_size(kept.request.pipeline)}, {server}; workers {f'{portable.environment_type} {where}'.strip()}"


def _dataflow(pipeline: beam.Pipeline) -> str:
    with tempfile.TemporaryDirectory() as folder:
        cloud, file = pipeline.options.view_as(GoogleCloudOptions), Path(folder) / "job.json"
        cloud.no_auth, cloud.staging_location, cloud.template_location = True, folder, str(file)
        pipeline.options.view_as(TestOptions).dry_run = False  # with it, Beam leaves the workers out
        pipeline.run(test_runner_api=False)
        job = json.loads(file.read_text(encoding="utf-8"))
    (pool,) = job["environment"]["workerPools"]
    most = pool.get("autoscalingSettings", {}).get("maxNumWorkers", "any number")
    return (
        f"{_size(pipeline.runner.proto_pipeline)}, {job['type']} in {cloud.project}, {cloud.region}; {most} of "
        f"{pool.get('machineType', 'its own choice of machines')} with {pool['workerHarnessContainerImage']}"
    )
