"""The fleet on a real Ray Serve and a real Redis: users stay on replicas, and survive them."""

import threading
import time
from collections import Counter
from http.client import HTTPException

import numpy as np
import pytest
import ray
from serving_helpers import Client, free_port, path_of, wait_for

from rllib_seq.errors import UserError
from rllib_seq.serving.engine_ray import bid_deployment
from rllib_seq.serving.http.app import open_service
from rllib_seq.serving.settings import Settings

pytestmark = pytest.mark.redis


def test_several_replicas_need_redis():
    settings = Settings(export="x", state="a.sqlite")
    with pytest.raises(UserError, match="belongs to one process"):
        bid_deployment(settings, 1, 2)
    with pytest.raises(UserError, match="--min-replicas is 3"):
        bid_deployment(settings, 3, 2)


@pytest.mark.usefixtures("ray_session")
def test_a_replica_is_killed_under_load(journey, redis_url):  # noqa: F811
    """Answers go on, money and memory are whole, and nothing is counted twice."""
    from ray import serve
    from ray.serve.config import HTTPOptions

    url, port = f"{redis_url}/15", free_port()
    settings = Settings(export=str(journey.folder), state=url, max_users=512, budget=100.0)
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=port))
    try:
        serve.run(bid_deployment(settings, 2, 2), name="bids", route_prefix="/")
        answered, booked, failed, paid = Counter(), Counter(), Counter(), []
        stop = threading.Event()

        def play(user):
            """Asks and tells, one after the other; asks again where a replica died."""
            while not stop.is_set():
                client = Client(port)
                try:
                    while not stop.is_set():
                        status, answer = client.bid(user)
                        if status not in (200, 204):
                            failed[user] += 1
                            continue
                        answered[user] += 1
                        # Of one that was too late, or failed, it is open whether it was booked.
                        booked[user] += status == 204 or answer.get("nbr") not in (1, 15)
                        if status == 200 and "seatbid" in answer:
                            nurl = path_of(answer["seatbid"][0]["bid"][0]["nurl"], 1.0)
                            while not stop.is_set():
                                status, reported = client("GET", nurl)
                                if status == 200:
                                    paid.append(nurl)
                                    break
                except (OSError, HTTPException):  # cut off in an answer
                    failed[user] += 1
                finally:
                    client.close()

        users = [f"user {i}" for i in range(6)]
        threads = [threading.Thread(target=play, args=(user,)) for user in users]
        for thread in threads:
            thread.start()
        wait_for(lambda: all(answered[user] > 5 for user in users))
        replicas = [
            actor
            for actor in ray.util.list_named_actors(all_namespaces=True)
            if "bidder" in actor["name"] and actor["name"].startswith("SERVE_REPLICA")
        ]
        assert len(replicas) == 2
        ray.kill(ray.get_actor(replicas[0]["name"], replicas[0]["namespace"]))
        before = Counter(answered)
        wait_for(lambda: all(answered[user] - before[user] > 5 for user in users))
        stop.set()
        for thread in threads:
            thread.join(600)
        time.sleep(0.2)
        # Every notice that was answered is booked once, reported twice or not.
        client = Client(port)
        for nurl in paid[:5]:
            assert client("GET", nurl) == (200, {"status": "known"})
        service = open_service(settings)
        totals = service.money.totals
        wins = round(totals["spend"] / 0.001)
        assert len(paid) <= wins <= len(paid) + len(users)  # those cut off at the end
        # No step that was answered is missing. What a dying replica wrote and could not answer is
        # counted, and so may be what was answered as late: no more than that.
        open_cases = answered.total() - booked.total() + failed.total()
        assert booked.total() <= totals["requests"] <= booked.total() + open_cases
        # Money and memory are written together: the journeys hold as many steps.
        keys = np.array([service.identities.key("id", user) for user in users])
        rows = service.memory.claim(keys, service.clock.hour())
        assert service.sessions.requests(rows).sum() == totals["requests"]
        service.close()
    finally:
        serve.shutdown()
