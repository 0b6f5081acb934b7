// Pages that do not change by themselves: their times only.

import { keepTimes } from "./format.js";

keepTimes();
