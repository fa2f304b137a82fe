"""Members are killed, stopped, restarted and moved under random work; lib/chaos.py says what must hold."""
import time
import unittest

from chaos import Chaos


class Faults(Chaos):
    def test_one_fault_at_a_time(self):
        """one server at a time dies, stands still or is restarted: two copies are enough for everything"""
        self.alone = True
        self.start([('redundant', 'PARTITION_REDUNDANT'), ('copied', 'REPLICATE')])
        while time.monotonic() < self.until and not self.oracle.wrong:
            heal = self.fault(self.random.randrange(3))
            if self.random.random() < 0.3:
                self.note('locator away')
                self.locator_away(1)
            self.pause(self.random.choice((0.3, 1.5, 4)))
            heal()
            self.wait_whole()
            if self.random.random() < 0.5:
                self.other()
                self.wait_whole()
        self.finish()

    def test_two_faults_at_a_time(self):
        """with three copies two servers at a time may die, stand still or be restarted"""
        self.start([('twice', 'PARTITION', '--redundant-copies', '2'), ('copied', 'REPLICATE')])
        while time.monotonic() < self.until and not self.oracle.wrong:
            self.settle()
            first, second = self.random.sample(range(3), 2)
            heals = [self.fault(first)]
            self.pause(self.random.choice((0.05, 1, 3)))
            heals.append(self.fault(second))
            self.pause(self.random.choice((0.05, 1, 4)))
            self.random.shuffle(heals)
            for heal in heals:
                heal()
                self.pause(1)
            self.wait_whole()
        self.finish()


if __name__ == '__main__':
    unittest.main()
