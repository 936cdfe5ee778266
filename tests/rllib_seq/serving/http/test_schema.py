"""schemathesis finds nothing that the OpenAPI page promises and the server does not survive."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from serving_helpers import running

from rllib_seq.serving.settings import Settings


@pytest.mark.slow
def test_no_operation_fails_whatever_is_sent(journey):
    chosen = Settings(export=str(journey.folder), state=":memory:", max_users=512)
    with running(chosen) as (port, service):
        schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")
        operations = [operation.ok() for operation in schema.get_all_operations()]
        assert len(operations) >= 5
        quick = settings(
            max_examples=25,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        for operation in operations:

            @quick
            @given(case=operation.as_strategy())
            def no_failure(case):
                answer = case.call()
                assert answer.status_code < 500, (case.body, case.query)

            no_failure()
        assert service.counts  # some were bid requests
