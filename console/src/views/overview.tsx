// The view for the night: queues, failures, what runs.
import { FailuresToday } from "./failures";
import { Queues } from "./queues";
import { Running } from "./running";

export function Overview() {
  return (
    <>
      <Queues />
      <FailuresToday />
      <Running />
    </>
  );
}
